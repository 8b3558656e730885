"""How far quantised answers are from exact ones, and which layers are to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.progress import track
from serving.inputs.item import Feeds

HARDEST = 128  # inputs on which the layers' harm is measured: those that quantisation changes most
KEPT_SHARE = 0.25  # of the layers at most stay fp32, or little would be left to gain


@dataclass(frozen=True)
class Quantised:
    """A quantised model and how it was made.

    Attributes:
        model: The int8 ONNX file's bytes.
        method: For people.
        kept: Names of the layers that stay fp32, because they hurt most.
        answers: Its probabilities of the inputs that it was made with, float64 of shape (inputs, classes).
    """

    model: bytes
    method: str
    kept: tuple[str, ...]
    answers: NDArray[np.float64]


def mean_divergence(exact: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence, in nats, of probabilities (inputs, classes)."""
    least = np.finfo(np.float32).tiny
    return float((exact * (np.log(np.maximum(exact, least)) - np.log(np.maximum(found, least)))).sum(axis=1).mean())


def cosines(exact: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine of each input's two vectors of probabilities, shape (inputs,)."""
    return np.asarray((exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1))


def wanted_cosine(min_cosine: float) -> float:
    """The least cosine to reach on the inputs that a file is made with: four times as close to 1 as its receipt asks.

    The test split holds other inputs, and often more: its extremes lie further out.
    """
    return 1 - (1 - min_cosine) / 4


def keep_most_harmful(
    start: Quantised,
    names: Sequence[str],
    quantise: Callable[[Sequence[str], Sequence[Feeds]], Quantised],
    inputs: Sequence[Feeds],
    exact: NDArray[np.float64],
    min_cosine: float,
) -> Quantised:
    """Put layers back to fp32, the most harmful first, until the least cosine is as wanted or too many are back.

    Args:
        start: With none of them back.
        names: Of the layers that can be put back.
        quantise: Makes the model with some layers in fp32, and has it answer some inputs.
        inputs: All that it is made with.
        exact: The fp32 model's answers to them.
        min_cosine: What the receipt will ask for.
    """
    hardest = np.argsort(cosines(exact, start.answers), kind="stable")[:HARDEST]
    hard = [inputs[index] for index in hardest]

    def harm_left(name: str) -> float:
        return mean_divergence(exact[hardest], quantise((name,), hard).answers)

    ranked = sorted(track(names, total=len(names), what="int8", unit="layers"), key=harm_left)
    made = start
    for count in range(1, max(1, int(KEPT_SHARE * len(names))) + 1):
        made = quantise(ranked[:count], inputs)
        if cosines(exact, made.answers).min() >= wanted_cosine(min_cosine):
            break
    return made
