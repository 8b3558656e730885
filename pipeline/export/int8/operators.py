"""The operators of convolutional networks in torch, so that an exported graph can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

Tensors = Sequence[torch.Tensor | None]
Attributes = Mapping[str, Any]
Operator = Callable[[Tensors, Attributes], torch.Tensor]
# ONNX's numbers of the types that a graph casts to
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16, 11: torch.float64}
ONES = (1, 1)


def _convolve(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Convolve pictures; padding that differs between the sides is added beforehand."""
    value, weight, bias = (*tensors, None)[:3]
    assert value is not None
    assert weight is not None
    value, padding = _padded(value, attributes, 0.0)
    return functional.conv2d(
        value, weight, bias, attributes.get("strides", ONES), padding,
        attributes.get("dilations", ONES), attributes.get("group", 1),
    )  # fmt: skip


def _padded(
    value: torch.Tensor, attributes: Attributes, filling: float
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return a value, and the padding that torch is left to add to both sides of its height and width."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise NotImplementedError("padding that depends on the size (auto_pad)")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return value, (top, left)
    return functional.pad(value, (left, right, top, bottom), value=filling), (0, 0)


def _cast(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Turn a value into another type."""
    if attributes["to"] not in TYPES:
        raise NotImplementedError("a Cast to a type that is neither a float nor a whole number")
    return _first(tensors).to(TYPES[attributes["to"]])


def _pool_max(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Take the largest value of each window."""
    value, padding = _padded(_first(tensors), attributes, -torch.inf)
    return functional.max_pool2d(
        value, attributes["kernel_shape"], attributes.get("strides", ONES), padding,
        attributes.get("dilations", ONES), bool(attributes.get("ceil_mode", 0)),
    )  # fmt: skip


def _pool_mean(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Take the mean of each window."""
    counted = bool(attributes.get("count_include_pad", 0))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if pads[:2] != pads[2:]:
        raise NotImplementedError("an AveragePool with other padding on one side")
    return functional.avg_pool2d(
        _first(tensors), attributes["kernel_shape"], attributes.get("strides", ONES), tuple(pads[:2]),
        bool(attributes.get("ceil_mode", 0)), counted,
    )  # fmt: skip


def _product(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Multiply matrices and add a bias, as ONNX's ``Gemm`` does."""
    left, right, bias = (*tensors, None)[:3]
    assert left is not None
    assert right is not None
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    product = (left @ right).mul(attributes.get("alpha", 1.0))
    return product if bias is None else product.add(bias, alpha=attributes.get("beta", 1.0))


def _mean(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Take the mean over axes, which are an attribute or an input."""
    axes = attributes.get("axes") if len(tensors) == 1 else _integers(tensors[1])
    return _first(tensors).mean(dim=tuple(axes or ()), keepdim=bool(attributes.get("keepdims", 1)))


def _reshape(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Give a value another shape, in which 0 stands for the length that it has."""
    value, shape = _first(tensors), _integers(tensors[1])
    if attributes.get("allowzero", 0):
        return value.reshape(shape)
    return value.reshape([value.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _flatten(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Join the axes before and from one on."""
    value, axis = _first(tensors), attributes.get("axis", 1)
    return value.reshape(int(torch.tensor(value.shape[:axis]).prod()), -1)


def _clip(tensors: Tensors, _attributes: Attributes) -> torch.Tensor:
    """Limit a value to a range, either end of which may be left out."""
    low, high = (None if edge is None else float(edge) for edge in (*tensors, None, None)[1:3])
    return _first(tensors).clamp(low, high)


def _squeeze(tensors: Tensors, _attributes: Attributes) -> torch.Tensor:
    """Leave out axes of length 1."""
    return _first(tensors).squeeze(tuple(_integers(tensors[1])))


def _hard_sigmoid(tensors: Tensors, attributes: Attributes) -> torch.Tensor:
    """Approximate the sigmoid by a straight line."""
    return _first(tensors).mul(attributes.get("alpha", 0.2)).add(attributes.get("beta", 0.5)).clamp(0, 1)


def _first(tensors: Tensors) -> torch.Tensor:
    """Return the first input, which every operator has."""
    assert tensors[0] is not None
    return tensors[0]


def _integers(tensor: torch.Tensor | None) -> list[int]:
    """Return a constant of whole numbers."""
    assert tensor is not None
    return [int(number) for number in tensor.reshape(-1)]


def _of_one(function: Callable[[torch.Tensor], torch.Tensor]) -> Operator:
    """Return the operator that applies a function of one tensor."""
    return lambda tensors, _attributes: function(_first(tensors))


def _of_two(function: Callable[[Any, Any], torch.Tensor]) -> Operator:
    """Return the operator that applies a function of two tensors."""
    return lambda tensors, _attributes: function(tensors[0], tensors[1])


OPERATORS: Mapping[str, Operator] = {
    "Add": _of_two(torch.add),
    "AveragePool": _pool_mean,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda tensors, attributes: torch.cat(
        [each for each in tensors if each is not None], attributes["axis"]
    ),
    "Conv": _convolve,
    "Div": _of_two(torch.div),
    "Flatten": _flatten,
    "Gemm": _product,
    "GlobalAveragePool": _of_one(lambda value: value.mean(dim=(2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_one(functional.hardswish),
    "Identity": _of_one(lambda value: value),
    "MatMul": _of_two(torch.matmul),
    "MaxPool": _pool_max,
    "Mul": _of_two(torch.mul),
    "ReduceMean": _mean,
    "Relu": _of_one(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _of_one(torch.sigmoid),
    "Softmax": lambda tensors, attributes: _first(tensors).softmax(attributes.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": _of_two(torch.sub),
    "Transpose": lambda tensors, attributes: _first(tensors).permute(attributes["perm"]),
}
"""By the name of ONNX's operator, its function from inputs (None where one is left out) and attributes."""
