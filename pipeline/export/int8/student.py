"""An int8 graph as a torch module: it rounds as the file that is served does, and yet has gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.export.int8.changes import QUANTISED, SCALE, Changes
from pipeline.export.int8.operators import OPERATORS
from pipeline.export.int8.quantiser import WEIGHTED
from pipeline.export.int8.smoothing import LEVELS

if TYPE_CHECKING:
    import onnx

Context = Any  # of torch's functions, in which they keep what they like
ROUNDING = ("QuantizeLinear", "DequantizeLinear")
WITHIN = (
    0.45  # of a step around its whole number a weight starts: nearer to its fp32 value, it soon goes over
)


class UntrainableError(Exception):
    """A graph that cannot be trained; the message says why."""


class Student(nn.Module):
    """The graph of an int8 file. Its weights are rounded in each run, and what is trained is in their steps.

    Args:
        quantised: The int8 model, as onnxruntime's quantiser writes it.
        prepared: The fp32 model that it was made from.
        changes: The changes of the int8 model to begin with.

    Raises:
        UntrainableError: The graph has an operator that is not known in torch.
    """

    def __init__(self, quantised: onnx.ModelProto, prepared: onnx.ModelProto, changes: Changes) -> None:
        from onnx import helper

        super().__init__()
        unknown = {node.op_type for node in quantised.graph.node} - OPERATORS.keys() - {*ROUNDING}
        if unknown:
            raise UntrainableError(f"its operators {', '.join(sorted(unknown))} cannot be trained")
        self._exact = {each.name: _tensor(each) for each in prepared.graph.initializer}
        self._constants = {each.name: _tensor(each) for each in quantised.graph.initializer}
        self._nodes = [
            (node, {each.name: helper.get_attribute_value(each) for each in node.attribute})
            for node in quantised.graph.node
        ]
        self._last = {name: index for index, (node, _) in enumerate(self._nodes) for name in node.input}
        self._steps: dict[str, torch.Tensor] = {}
        self._scaled: dict[str, str] = {}
        # By the places of the tensors in `names`, since torch's own names may hold no dots.
        self.names: list[str] = []
        self.values = nn.ParameterList()
        self.gains = nn.ParameterDict()
        self._add_parameters(changes)

    def _add_parameters(self, changes: Changes) -> None:
        """Find the weights and biases that are rounded, and make parameters of them."""
        rounded = {
            node.output[0]: (node.input[0].removesuffix(QUANTISED), attributes.get("axis", 0))
            for node, attributes in self._nodes
            if node.op_type == "DequantizeLinear" and node.input[0] in self._constants
        }
        outputs = {
            node.input[0]: self._constants[node.input[1]]
            for node, _ in self._nodes
            if node.op_type == "QuantizeLinear"
        }
        for node, _ in self._nodes:
            # Others have rounded constants too, such as the factor of a product.
            if node.op_type not in WEIGHTED or node.input[1] not in rounded:
                continue
            weight, axis = rounded[node.input[1]]
            if weight in self._steps:
                continue
            self._add_weight(weight, axis, changes.whole.get(weight))
            if len(node.input) > 2 and node.input[2] in rounded and node.output[0] in outputs:
                bias, _ = rounded[node.input[2]]
                self._scaled[bias] = weight
                value = changes.biases.get(bias)
                begun = self._exact[bias] if value is None else torch.from_numpy(value)
                self._add(bias, begun, outputs[node.output[0]])

    def _add_weight(self, name: str, axis: int, whole: NDArray[np.int8] | None) -> None:
        """Make parameters of a weight, in its steps, and of the logarithms of what its scales are changed by.

        Args:
            name: The weight's name in the fp32 model.
            axis: The axis of the channels that have a scale each.
            whole: The whole numbers to begin with; None for the nearest ones.
        """
        value, scale = self._exact[name], self._constants[f"{name}_scale"]
        shape = [1] * value.ndim
        if scale.numel() > 1:
            shape[axis] = -1
        steps = scale.reshape(shape)
        if whole is not None:
            numbers = torch.from_numpy(whole)
            value = (value / steps).clamp(numbers - WITHIN, numbers + WITHIN) * steps
        self._add(name, value, steps)
        self.gains[str(len(self.names) - 1)] = nn.Parameter(torch.zeros_like(steps))

    def _add(self, name: str, value: torch.Tensor, steps: torch.Tensor) -> None:
        """Make a parameter of a tensor, in steps."""
        self._steps[name] = steps
        self.names.append(name)
        self.values.append(nn.Parameter(value / steps))

    def changes(self) -> Changes:
        """Return what the int8 file holds after training."""
        whole, biases, gains = {}, {}, {}
        with torch.no_grad():
            for place, name in enumerate(self.names):
                value, steps = self.values[place], self._steps[name]
                if name in self._scaled:
                    biases[name] = (value * steps).numpy()
                else:
                    whole[name] = _whole(value).to(torch.int8).numpy()
                    gains[name] = self.gains[str(place)].exp().reshape(-1).numpy()
        return Changes(whole, biases, gains, self._scaled)

    def forward(self, feeds: Mapping[str, torch.Tensor], names: Sequence[str]) -> list[torch.Tensor]:
        """Run the graph on a batch.

        Args:
            feeds: The model's inputs by their names.
            names: Names of the values that are returned.
        """
        values: dict[str, torch.Tensor] = {**self._constants, **self._exact, **self._weights(), **feeds}
        for index, (node, attributes) in enumerate(self._nodes):
            inputs = [values[name] if name else None for name in node.input]
            values[node.output[0]] = self._run(node.op_type, inputs, attributes, node.input[0])
            del inputs  # so that the memory of what is not needed any more is freed at once
            for name in node.input:
                if self._last[name] == index and name not in names:
                    values.pop(name, None)
        return [values[name] for name in names]

    def floats(self, feeds: Mapping[str, torch.Tensor]) -> int:
        """Return how many numbers the graph computes for a batch, nearly all of which training has to keep.

        Args:
            feeds: The model's inputs by their names.
        """
        names = [node.output[0] for node, _ in self._nodes if node.op_type != "DequantizeLinear"]
        with torch.no_grad():
            return sum(value.numel() for value in self.forward(feeds, names))

    def _weights(self) -> dict[str, torch.Tensor]:
        """Return the rounded weights and the biases, by the names that they have in the int8 model."""
        gains = {self.names[int(place)]: gain.exp() for place, gain in self.gains.items()}
        weights = {}
        for name, value in zip(self.names, self.values, strict=True):
            if name in self._scaled:
                steps = self._constants[name + SCALE] * gains[self._scaled[name]].detach().reshape(-1)
                exact = value * self._steps[name]
                weights[name + QUANTISED] = exact + ((exact / steps).round() * steps - exact).detach()
            else:
                rounded = value + (_whole(value) - value).detach()
                weights[name + QUANTISED] = rounded * (self._steps[name] * gains[name])
        return weights

    def _run(
        self, kind: str, inputs: Sequence[torch.Tensor | None], attributes: Mapping[str, Any], name: str
    ) -> torch.Tensor:
        """Compute a node, where a rounded value is held as the float that its whole number stands for."""
        if kind not in ROUNDING:
            return OPERATORS[kind](inputs, attributes)
        value, scale, zero = inputs
        assert value is not None
        assert scale is not None
        assert zero is not None
        if kind == "QuantizeLinear":
            ends = torch.iinfo(zero.dtype)
            low, high = ends.min - int(zero), ends.max - int(zero)
            rounded: torch.Tensor = Rounded.apply(value, float(scale), low, high)
            return rounded
        return value if value.is_floating_point() else self._exact[name.removesuffix(QUANTISED)]


class Rounded(torch.autograd.Function):
    """Rounding whose gradient is 1 within the range and 0 at its ends and beyond.

    ``torch.fake_quantize_per_tensor_affine`` takes four times as long, and its backward pass more memory.
    """

    @staticmethod
    def forward(ctx: Context, value: torch.Tensor, scale: float, low: int, high: int) -> torch.Tensor:
        """Round a value to multiples of the scale, from ``low`` to ``high`` of them."""
        rounded = value.div(scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(rounded)
        ctx.ends = (low + 0.5) * scale, (high - 0.5) * scale
        return rounded

    @staticmethod
    def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Let the gradient pass where the value lies between the ends."""
        (rounded,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, rounded, *ctx.ends), None, None, None


def _whole(value: torch.Tensor) -> torch.Tensor:
    """Round weights in steps to the whole numbers of 7 bits."""
    return value.detach().round().clamp(-LEVELS, LEVELS)


def _tensor(constant: onnx.TensorProto) -> torch.Tensor:
    """Return a copy of what a tensor of an ONNX file holds."""
    from onnx import numpy_helper

    return torch.from_numpy(numpy_helper.to_array(constant).copy())
