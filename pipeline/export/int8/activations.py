"""Measurements, on real inputs, of each activation that is multiplied by a constant matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.onnx import OnnxModel
from pipeline.artifacts.sessions import create_session
from pipeline.export.int8.products import Products
from pipeline.reporting.progress import track
from serving.model.inputs.item import Feeds

if TYPE_CHECKING:
    import onnx

MEASURED_INPUTS = 512  # enough to meet the largest activations
TOKENS_AT_ONCE = 2048
KEPT_INPUTS = 16  # whose activations are kept as they are


@dataclass
class Activation:
    """One activation, as measured over some inputs.

    Attributes:
        gram: Sum of the activation's outer products over all tokens, float64 of shape (channels, channels).
        peaks: The largest magnitude of each channel, float32 of shape (channels,).
        examples: The activation itself on a few inputs, each float32 of shape (tokens, channels).
    """

    gram: NDArray[np.float64]
    peaks: NDArray[np.float32]
    examples: list[NDArray[np.float32]] = field(default_factory=list)
    _waiting: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, value: NDArray[np.float32], *, keep: bool) -> None:
        """Take in the activation of one input.

        Args:
            value: The activation, float32 of shape (tokens, channels).
            keep: Whether it is kept as an example.
        """
        self.peaks = np.maximum(self.peaks, np.abs(value).max(axis=0))
        self._waiting.append(value)
        if sum(map(len, self._waiting)) >= TOKENS_AT_ONCE:
            self.finish()
        if keep:
            self.examples.append(value)

    def finish(self) -> None:
        """Add the waiting activations to the sum: many tokens at once, since it is as large for a few."""
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self.gram += rows.T @ rows
            self._waiting.clear()


def measure_activations(
    document: onnx.ModelProto, products: Products, inputs: Sequence[Feeds]
) -> dict[str, Activation]:
    """Run some of the inputs, and measure every activation that the products multiply.

    Args:
        document: The fp32 model.
        products: The products, by the names of their activations.
        inputs: Single inputs of the model, at most about a thousand of which are run.

    Returns:
        The measured activations by their names.
    """
    import onnx

    names = list(products)
    probe = onnx.ModelProto.FromString(document.SerializeToString())
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = create_session(OnnxModel(probe.SerializeToString()))
    channels = {name: len(multiplied[0].matrix) for name, multiplied in products.items()}
    activations = {
        name: Activation(np.zeros((size, size)), np.zeros(size, np.float32))
        for name, size in channels.items()
    }
    chosen = inputs[:: max(1, len(inputs) // MEASURED_INPUTS)]
    every = max(1, len(chosen) // KEPT_INPUTS)
    for index, feeds in enumerate(track(chosen, total=len(chosen), what="int8", unit="inputs")):
        for name, value in zip(names, session.run(names, dict(feeds)), strict=True):
            activations[name].add(value.reshape(-1, channels[name]), keep=index % every == 0)
    for activation in activations.values():
        activation.finish()
    return activations
