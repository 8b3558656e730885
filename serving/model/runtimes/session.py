"""The interface that every runtime implements: a session on one model file."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.model.inputs.item import Feeds

Runtime = Literal["onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino-cpu"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Session(Protocol):
    """A loaded model with one output. It is thread-safe."""

    @property
    def in_use(self) -> dict[str, Any]:
        """What runs the model, as the runtime itself reports it.

        ``runtime`` is its name and version, ``provider`` the execution provider or device, and ``nodes`` the
        number of graph nodes by provider.
        """
        ...

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Run the model on one batch.

        Args:
            feeds: Arrays by the names of the model's inputs; the first dimension of each is the batch.

        Returns:
            The model's output, float32, whose first dimension is the batch.
        """
        ...
