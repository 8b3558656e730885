"""The layers that are to blame where quantised answers are far from exact ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.measures.divergence import agreement, cosines, kl_divergences
from pipeline.reporting.progress import track
from serving.model.inputs.item import Feeds

HARDEST = 128  # inputs on which the layers' harm is measured: those that quantisation changes most
KEPT_SHARE = 0.25  # of the layers at most stay fp32, or little would be left to gain


@dataclass(frozen=True)
class Quantised:
    """A quantised model and how it was made.

    Attributes:
        model: The bytes of the int8 ONNX file.
        method: How the model was quantised, for people to read.
        kept: Names of the layers that stay fp32, because they hurt most.
        answers: The model's probabilities of the inputs that it was asked, float64 of shape
            (inputs, classes).
    """

    model: bytes
    method: str
    kept: tuple[str, ...]
    answers: NDArray[np.float64]


def is_close(exact: NDArray[np.float64], quantised: NDArray[np.float64], limits: Limits) -> bool:
    """Return whether answers keep well within the limits that a file's receipt will be held to.

    The test split holds other inputs than a file is made with, and often more: its extremes lie further out.
    So cosine and divergence must be four times as good, and half as many answers may differ.

    Args:
        exact: The fp32 model's probabilities, float64 of shape (inputs, classes).
        quantised: The quantised model's, of the same shape.
        limits: The limits of the receipt.
    """
    return bool(
        cosines(exact, quantised).min() >= 1 - (1 - limits.min_cosine) / 4
        and kl_divergences(exact, quantised).mean() <= limits.max_mean_kl / 4
        and agreement(exact, quantised) >= 1 - (1 - limits.min_agreement) / 2
    )


def keep_most_harmful(
    start: Quantised,
    names: Sequence[str],
    quantise: Callable[[Sequence[str], Sequence[Feeds]], Quantised],
    inputs: Sequence[Feeds],
    exact: NDArray[np.float64],
    limits: Limits,
) -> Quantised:
    """Put layers back to fp32, the most harmful first, until the answers are close or too many are back.

    Args:
        start: The model with none of the layers back.
        names: Names of the layers that can be put back, of which a quarter at most will be.
        quantise: Makes the model with some layers in fp32, and has it answer some inputs.
        inputs: All inputs that the model is made with.
        exact: The fp32 model's probabilities of them, float64 of shape (inputs, classes).
        limits: The limits of the receipt.
    """
    hardest = np.argsort(cosines(exact, start.answers), kind="stable")[:HARDEST]
    hard = [inputs[index] for index in hardest]

    def harm_left(name: str) -> float:
        return float(kl_divergences(exact[hardest], quantise((name,), hard).answers).mean())

    ranked = sorted(track(names, total=len(names), what="int8", unit="layers"), key=harm_left)
    quantised = start
    for count in range(1, max(1, int(KEPT_SHARE * len(names))) + 1):
        quantised = quantise(ranked[:count], inputs)
        if is_close(exact, quantised.answers, limits):
            break
    return quantised
