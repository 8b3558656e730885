"""The head that ``mode: features`` makes of a recipe, fitted on features that are there already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.keep.judging import Judged, judge
from pipeline.finetune.start.adjustment import shift_of
from pipeline.finetune.start.frozen import Frozen, FrozenSplit
from pipeline.finetune.start.heads import LinearHead, choose_penalty, fit_head
from pipeline.finetune.start.imbalance import choose_balance
from pipeline.finetune.start.prepared import HEAD_SAMPLES, spread
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of


@dataclass(frozen=True)
class FittedHead:
    """A head on frozen features, as it would be shipped.

    Attributes:
        head: The head.
        shift: What is added to each logit to take the classes' shares out, float32 of shape (classes,).
        judged: How good it is on validation, after that.
    """

    head: LinearHead
    shift: NDArray[np.float32]
    judged: Judged

    def logits(self, split: FrozenSplit) -> NDArray[np.float32]:
        """Return the logits of a split, float32 of shape (samples, classes)."""
        return np.asarray(self.head.logits(split.features) + self.shift, np.float32)


def fit_features(recipe: Recipe, frozen: Frozen) -> FittedHead:
    """Fit the head of a recipe whose mode is ``features``.

    Args:
        recipe: The recipe.
        frozen: Features of the training and the validation split.
    """
    section = recipe.finetune
    train, validation, classes = frozen.splits["train"], frozen.splits["validation"], len(frozen.labels)
    masses = train.masses(classes)
    counts = np.bincount(train.targets, minlength=classes)
    sizes = np.asarray(counts if masses is None else masses.sum(axis=0, dtype=np.float64), np.float64)
    balance = choose_balance(section, sizes, frozen.labels)
    chosen = spread(train.targets, HEAD_SAMPLES)
    weighted = balance.masses_for_heads(train.targets, masses)
    some = None if weighted is None else weighted[chosen]
    rows = (train.features[chosen], train.targets[chosen])
    judged_on = (validation.features, validation.targets)
    penalty = section.penalty
    head = fit_head(rows, choose_penalty(rows, judged_on, some) if penalty is None else penalty, some)
    shift = np.zeros(classes, np.float32)
    if balance.adjustment:
        shift = shift_of(sizes, balance.adjustment)
    logits = np.asarray(head.logits(validation.features) + shift, np.float32)
    return FittedHead(head, shift, judge(task_of(recipe), logits, validation.targets))
