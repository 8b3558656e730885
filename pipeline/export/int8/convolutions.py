"""The rounding of weights of convolutions that changes their outputs to real inputs least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.artifacts.onnx import OnnxModel
from pipeline.artifacts.sessions import create_session
from pipeline.export.int8.changes import Changes
from pipeline.export.int8.gptq import round_weights
from pipeline.reporting.progress import track
from serving.model.inputs.item import Feeds

if TYPE_CHECKING:
    import onnx

NOISE = 1e-5  # of a mean square, in sums of float32
LARGEST_GRAMS = 2**25  # numbers that the sums of one pass over the inputs may have: 256 MB


@dataclass(frozen=True)
class Layer:
    """A convolution whose weights are rounded.

    Attributes:
        source: Name of the activation that it convolves.
        weight: Name of its weights.
        bias: Name of its bias; None where it has none.
        kernel: The weights, float32 of shape (outputs, channels of a group, height, width).
        options: Strides, pads, dilations and number of groups, by ONNX's names.
    """

    source: str
    weight: str
    bias: str | None
    kernel: NDArray[np.float32]
    options: Mapping[str, Any]

    @property
    def groups(self) -> int:
        """The number of groups of channels."""
        return int(self.options.get("group", 1))

    @property
    def size(self) -> int:
        """The number of weights of one output."""
        return int(np.prod(self.kernel.shape[1:]))

    def patches(self, value: NDArray[np.float32]) -> torch.Tensor:
        """Return what the kernel meets in an activation, float32 of shape (groups, size, places)."""
        top, left, bottom, right = self.options.get("pads", (0, 0, 0, 0))
        padded = functional.pad(torch.from_numpy(value), (left, right, top, bottom))
        if self.size * self.groups == value.shape[1] and tuple(self.options.get("strides", (1, 1))) == (1, 1):
            return padded.reshape(self.groups, self.size, -1)  # a patch is one place of all channels
        patches = functional.unfold(
            padded, self.kernel.shape[2:], self.options.get("dilations", 1), 0, self.options.get("strides", 1)
        )
        return patches.transpose(0, 1).reshape(self.groups, self.size, -1)


@dataclass
class Moments:
    """Sums over the patches that a convolution meets.

    Attributes:
        gram: Sum of their outer products, float64 of shape (groups, size, size).
        total: Their sum, float64 of shape (groups, size).
        count: Number of patches.
    """

    gram: torch.Tensor
    total: torch.Tensor
    count: int = 0

    def add(self, patches: torch.Tensor) -> None:
        """Take in patches, float32 of shape (groups, size, places)."""
        self.gram += patches @ patches.transpose(1, 2)
        self.total += patches.sum(dim=2)
        self.count += patches.shape[2]


def round_convolutions(prepared: bytes, names: Sequence[str], inputs: Sequence[Feeds]) -> Changes:
    """Round the weights of convolutions by GPTQ, and let the biases make good what is left in the mean.

    Args:
        prepared: The fp32 model.
        names: Names of the layers; those that are no convolutions are left as they are.
        inputs: Single inputs of the model; a hundred are enough, since each has hundreds of patches.
    """
    import onnx
    from onnx import numpy_helper

    document = onnx.load_from_string(prepared)
    tensors = {each.name: numpy_helper.to_array(each) for each in document.graph.initializer}
    whole: dict[str, NDArray[np.int8]] = {}
    biases: dict[str, NDArray[np.float32]] = {}
    for layers in _in_passes(_read_layers(document, tensors, names)):
        for layer, moments in zip(layers, _measure(document, layers, inputs), strict=True):
            whole[layer.weight], lost = _round(layer, moments)
            if layer.bias is not None:
                biases[layer.bias] = (tensors[layer.bias] + lost).astype(np.float32)
    return Changes(whole, biases)


def _read_layers(
    document: onnx.ModelProto, tensors: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> list[Layer]:
    """Return the convolutions over two axes among the named layers."""
    from onnx import helper

    layers = []
    for node in document.graph.node:
        if node.op_type != "Conv" or node.name not in names:
            continue
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kernel = tensors[node.input[1]]
        if kernel.ndim != 4 or options.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        bias = node.input[2] if len(node.input) > 2 else None
        layers.append(Layer(node.input[0], node.input[1], bias, kernel, options))
    return layers


def _in_passes(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Divide layers so that the sums of one pass over the inputs fit into the memory."""
    passes: list[list[Layer]] = [[]]
    filled = 0
    for layer in layers:
        numbers = layer.groups * layer.size**2
        if passes[-1] and filled + numbers > LARGEST_GRAMS:
            passes.append([])
            filled = 0
        passes[-1].append(layer)
        filled += numbers
    return passes


def _measure(document: onnx.ModelProto, layers: Sequence[Layer], inputs: Sequence[Feeds]) -> list[Moments]:
    """Run the inputs, and sum over the patches that each layer meets."""
    import onnx

    probe = onnx.ModelProto.FromString(document.SerializeToString())
    names = sorted({layer.source for layer in layers})
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = create_session(OnnxModel(probe.SerializeToString()))
    moments = [
        Moments(
            torch.zeros(layer.groups, layer.size, layer.size, dtype=torch.float64),
            torch.zeros(layer.groups, layer.size, dtype=torch.float64),
        )
        for layer in layers
    ]
    with one_thread():
        for feeds in track(inputs, total=len(inputs), what="int8: rounding", unit="inputs"):
            values = dict(zip(names, session.run(names, dict(feeds)), strict=True))
            for layer, each in zip(layers, moments, strict=True):
                each.add(layer.patches(values[layer.source]))
    return moments


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within the block: its sums then do not depend on how many CPUs there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _round(layer: Layer, moments: Moments) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a layer's whole numbers, and the mean of what they take away from its outputs."""
    means = (moments.total / moments.count).numpy()
    outputs = layer.kernel.reshape(layer.groups, -1, layer.size)
    whole = np.empty(outputs.shape, np.int8)
    shifts = np.empty(outputs.shape[:2], np.float32)
    for group, (matrix, mean) in enumerate(zip(outputs, means, strict=True)):
        gram = moments.gram[group].numpy() / moments.count
        if layer.bias is not None:  # which takes the mean error away, so that only the rest counts
            # What is always the same leaves only float32's noise, which must not look like a negative square.
            gram += NOISE * np.diag(gram).mean() * np.eye(layer.size) - np.outer(mean, mean)
        rounded = round_weights(np.ascontiguousarray(matrix.T), gram)
        whole[group] = rounded.whole.T
        shifts[group] = (matrix - rounded.whole.T * rounded.scales[:, None]) @ mean
    return whole.reshape(layer.kernel.shape), shifts.reshape(-1)
