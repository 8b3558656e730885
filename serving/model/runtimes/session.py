"""What every runtime gives: a session on one model file."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.model.inputs.item import Feeds

Runtime = Literal["onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino-cpu"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Session(Protocol):
    """A loaded model with one output. ``run`` may be called from several threads at once."""

    @property
    def in_use(self) -> dict[str, Any]:
        """What runs the model, as the runtime itself reports it: its name and version, the device's provider, how many nodes each has."""
        ...

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Map a batch, by the names of the model's inputs, to outputs of the same first dimension."""
        ...
