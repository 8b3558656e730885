"""The interface that every runtime implements: a session on one model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from serving.model.inputs.item import Feeds

Runtime = Literal["onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino-cpu"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class InUse(BaseModel):
    """What runs a model, as the runtime itself reports it.

    Attributes:
        runtime: Name and version of the runtime, such as ``onnxruntime 1.31.1``.
        provider: The execution provider or device.
        nodes: Number of the graph's nodes by provider.
        elsewhere: Number of the nodes that other providers run, by provider and operator.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str
    provider: str
    nodes: Mapping[str, int]
    elsewhere: Mapping[str, Mapping[str, int]] = {}


class Session(Protocol):
    """A loaded model with one output. It is thread-safe."""

    @property
    def in_use(self) -> InUse:
        """What runs the model, as the runtime itself reports it."""
        ...

    def run(self, feeds: Feeds) -> NDArray[np.float32]:
        """Run the model on one batch.

        Args:
            feeds: Arrays by the names of the model's inputs; the first dimension of each is the batch.

        Returns:
            The model's output, float32, whose first dimension is the batch.
        """
        ...
