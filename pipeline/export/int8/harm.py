"""The layers that are to blame where quantised answers are far from exact ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.measures.divergence import agreement, cosines, kl_divergences
from pipeline.reporting.progress import track
from serving.model.inputs.item import Feeds

# However deep a network is, the search makes at most GROUPS models for the hardest inputs and four for all of
# them. It counts work instead of seconds, so that a slow machine makes the same file.
HARDEST = 32  # inputs on which harm is measured: those that quantisation changes most
# Layers are compared in groups of neighbours: between two layers in fp32 no activation is rounded either.
GROUPS = 16
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


def is_close(
    exact: NDArray[np.float64], quantised: NDArray[np.float64], limits: Limits, *, spare: float = 4.0
) -> bool:
    """Return whether answers keep well within the limits that a file's receipt will be held to.

    The test split holds other inputs than a file is made with, and often more: its extremes lie further out.
    So cosine and divergence must be four times as good, and half as many answers may differ.

    Args:
        exact: The fp32 model's probabilities, float64 of shape (inputs, classes).
        quantised: The quantised model's, of the same shape.
        limits: The limits of the receipt.
        spare: How many times as good cosine and divergence must be; 4 by default, and 1 for the limits
            themselves. Of answers that differ, its square root counts.
    """
    return bool(
        cosines(exact, quantised).min() >= 1 - (1 - limits.min_cosine) / spare
        and kl_divergences(exact, quantised).mean() <= limits.max_mean_kl / spare
        and agreement(exact, quantised) >= 1 - (1 - limits.min_agreement) / math.sqrt(spare)
    )


@dataclass(frozen=True)
class Trial:
    """What a choice of fp32 layers is tried with.

    Attributes:
        quantise: Makes the model with some layers in fp32, and has it answer some inputs.
        inputs: All inputs that the model is made with.
        exact: The fp32 model's probabilities of them, float64 of shape (inputs, classes).
        limits: The limits of the receipt.
    """

    quantise: Callable[[Sequence[str], Sequence[Feeds]], Quantised]
    inputs: Sequence[Feeds]
    exact: NDArray[np.float64]
    limits: Limits

    def keep(self, groups: Sequence[Sequence[str]]) -> Quantised:
        """Make the model with groups of layers in fp32, and have it answer all inputs."""
        return self.quantise([name for group in groups for name in group], self.inputs)

    def is_close(self, quantised: Quantised, *, spare: float = 4.0) -> bool:
        """Return whether a model's answers to all inputs are close, as the function of this name says."""
        return is_close(self.exact, quantised.answers, self.limits, spare=spare)

    def rank(self, groups: Sequence[Sequence[str]], start: Quantised) -> list[Sequence[str]]:
        """Sort groups of layers, first the one whose return to fp32 leaves the smallest divergence.

        Args:
            groups: Groups of names of layers.
            start: The model with none of the layers back, which answered all inputs.
        """
        hardest = np.argsort(cosines(self.exact, start.answers), kind="stable")[:HARDEST]
        hard = [self.inputs[index] for index in hardest]

        def left(group: Sequence[str]) -> float:
            return float(kl_divergences(self.exact[hardest], self.quantise(group, hard).answers).mean())

        return sorted(track(groups, total=len(groups), what="int8", unit="groups of layers"), key=left)


def keep_most_harmful(start: Quantised, names: Sequence[str], trial: Trial) -> Quantised:
    """Put the fewest layers back to fp32, the most harmful ones, with which the answers are close.

    Args:
        start: The model with none of the layers back, which answered all inputs.
        names: Names of the layers that can be put back, of which a quarter at most will be.
        trial: What choices are tried with.

    Returns:
        The model with layers back; or ``start``, with a method that says so, where no quarter of the layers
        keeps to the limits.
    """
    ranked = trial.rank(neighbours(names, GROUPS), start)
    groups = _no_more_than(ranked, int(KEPT_SHARE * len(names)))
    most = trial.keep(groups)
    if trial.is_close(most):
        return _fewest(most, groups, trial)
    if trial.is_close(most, spare=1.0):
        return most
    return replace(start, method=f"{start.method}; no quarter of its layers in fp32 keeps to the limits")


def neighbours(names: Sequence[str], most: int) -> list[Sequence[str]]:
    """Divide names into groups of neighbours of about the same size.

    Args:
        names: The names.
        most: Greatest number of groups.
    """
    count = min(most, len(names))
    edges = [index * len(names) // count for index in range(count + 1)]
    return [names[start:end] for start, end in pairwise(edges)]


def _no_more_than(groups: Sequence[Sequence[str]], most: int) -> list[Sequence[str]]:
    """Return the first groups that have no more layers than may stay fp32 together; one group at least."""
    sizes = np.cumsum([len(group) for group in groups])
    return list(groups[: max(1, int((sizes <= most).sum()))])


def _fewest(most: Quantised, groups: Sequence[Sequence[str]], trial: Trial) -> Quantised:
    """Return the model with the fewest groups back whose answers are close, by bisection.

    Args:
        most: The model with all groups back, whose answers are close.
        groups: The groups, the most harmful first.
        trial: What choices are tried with.
    """
    best, too_few, enough = most, 0, len(groups)
    while enough - too_few > 1:
        count = (too_few + enough) // 2
        quantised = trial.keep(groups[:count])
        if trial.is_close(quantised):
            best, enough = quantised, count
        else:
            too_few = count
    return best
