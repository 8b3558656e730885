"""What an int8 file holds in place of the nearest whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

QUANTISED = "_quantized"  # onnxruntime's ending of the names of whole numbers
SCALE = f"{QUANTISED}_scale"  # and of a bias's scale; a weight's lacks the first part
LARGEST_WHOLE = 2.0**31 - 1


@dataclass(frozen=True)
class Changes:
    """Changes of an int8 file, by the names that tensors have in the fp32 model.

    Attributes:
        whole: Weights in steps of a channel's largest magnitude over 64, int8 of the weights' shapes.
        biases: Biases that are to be rounded instead of the fp32 model's, float32 of their shapes.
        gains: What the scales of a weight's channels are multiplied by, float32 of shape (channels,); by
            default they stay as they are.
        scaled: Name of the weight that shares its scales with a bias, by the bias's name.
    """

    whole: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    biases: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    gains: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    scaled: Mapping[str, str] = field(default_factory=dict)

    def apply(self, model: bytes) -> bytes:
        """Return an int8 file with the changes; what stays fp32 in it stays as it is.

        Args:
            model: The bytes of the ONNX file, as onnxruntime's quantiser names its tensors.
        """
        import onnx

        document = onnx.load_from_string(model)
        tensors = {tensor.name: tensor for tensor in document.graph.initializer}
        for name, whole in self.whole.items():
            if name + QUANTISED in tensors:
                _set(tensors[name + QUANTISED], whole)
        for name, gain in self.gains.items():
            if name + QUANTISED in tensors:
                scale = tensors[f"{name}_scale"]
                _set(scale, _read(scale) * gain)
        for name, bias in self.biases.items():
            if name + QUANTISED in tensors:
                self._change_bias(tensors, name, bias)
        return document.SerializeToString(deterministic=True)  # type: ignore[no-any-return]

    def _change_bias(
        self, tensors: Mapping[str, onnx.TensorProto], name: str, bias: NDArray[np.float32]
    ) -> None:
        """Change a bias, whose steps are those of the activation times those of the weight."""
        scale = tensors[name + SCALE]
        steps = _read(scale) * self.gains.get(self.scaled.get(name, ""), np.float32(1))
        _set(scale, steps)
        rounded = np.round(bias.astype(np.float64) / steps).clip(-LARGEST_WHOLE, LARGEST_WHOLE)
        _set(tensors[name + QUANTISED], rounded.astype(np.int32))


def _read(tensor: onnx.TensorProto) -> NDArray[Any]:
    """Return what a tensor holds."""
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)  # type: ignore[no-any-return]


def _set(tensor: onnx.TensorProto, value: NDArray[Any]) -> None:
    """Replace what a tensor holds, and its type."""
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
