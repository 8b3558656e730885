"""Classes of unequal size: how unequal they are, what is done about it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.recipe.finetune import Finetune
from pipeline.reporting.printable import printable

# ``auto`` makes up for classes of unequal size from this ratio of the largest to the smallest on, and half:
# docs/adr/0020.
UNBALANCED = 10.0
HALF = 0.5


@dataclass(frozen=True)
class Balance:
    """What is done about classes of unequal size.

    Attributes:
        sizes: How much of the training split is of each class.
        why: One sentence for people.
        weights: Weight of each class in the loss, float32 of shape (classes,), with a mean of 1 over the
            samples; None, the default, for equal weights.
        head_weights: The same for the heads on frozen features, which have weights too where classes are
            drawn equally often: otherwise head and epochs would answer by different shares of the classes,
            and could not be compared.
        adjustment: Strength by which the classes' shares are taken out of the answers after training; 0, the
            default, for none.
    """

    sizes: tuple[float, ...] = ()
    why: str = ""
    weights: NDArray[np.float32] | None = None
    head_weights: NDArray[np.float32] | None = None
    adjustment: float = 0.0

    @property
    def strength(self) -> float:
        """Strength that does the same to the answers of a model which was fitted without weights."""
        return self.adjustment if self.head_weights is None else 1.0

    def masses_for_heads(
        self, targets: NDArray[np.int64], masses: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        """Return what each sample adds to each class in the heads, with the weights of the classes in it.

        Args:
            targets: Class indices of the samples, int64 of shape (samples,).
            masses: What each sample adds to each class, float32 of shape (samples, classes); None for one
                label a sample.

        Returns:
            float32 of shape (samples, classes); None where nothing is weighted.
        """
        if self.head_weights is None:
            return masses
        whole = np.eye(len(self.sizes), dtype=np.float32)[targets] if masses is None else masses
        return np.asarray(whole * self.head_weights, np.float32)


def choose_balance(section: Finetune, sizes: NDArray[np.float64], labels: Sequence[str]) -> Balance:
    """Choose what is done about classes of unequal size, and say why.

    Args:
        section: The recipe's section ``finetune``.
        sizes: How much of the training split is of each class, float64 of shape (classes,), all above 0.
        labels: Names of the classes.
    """
    each, ratio, weights = tuple(sizes.tolist()), float(sizes.max() / sizes.min()), inverse(sizes)
    largest, smallest = (printable(labels[each.index(size)]) for size in (max(each), min(each)))
    measured = (
        f"classes: all have {round(each[0], 1):,g} samples"
        if ratio == 1
        else f"classes: the largest, {largest}, has {ratio:.1f} times the samples of the smallest, {smallest}"
        f" ({round(float(sizes.min()), 1):,g})"
    )
    if section.sampling == "balanced":
        return Balance(each, f"{measured}; each is drawn equally often", head_weights=weights)
    if section.class_weights == "balanced":
        return Balance(each, f"{measured}; each is weighted inversely to its size", weights, weights)
    strength, because = section.logit_adjustment, ""
    if section.class_weights == "auto" and strength == 0:
        strength = HALF if ratio >= UNBALANCED else 0.0
        because = (
            f", since that is {UNBALANCED:g} times or more"
            if strength
            else f", since that is below {UNBALANCED:g} times"
        )
    if strength > 0:
        done = f"after training, their shares are taken out of the answers with a strength of {strength:g}"
        return Balance(each, f"{measured}; {done}{because}", adjustment=strength)
    return Balance(each, f"{measured}; all samples count alike{because}")


def inverse(sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return weights inverse to the classes' sizes, with a mean of 1 over the samples.

    Args:
        sizes: How much of the training split is of each class, float64 of shape (classes,), all above 0.
    """
    return np.asarray(sizes.sum() / (len(sizes) * sizes), np.float32)
