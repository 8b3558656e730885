"""The cross-validated linear probe: the same folds for every backbone, so that differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.logme import log_evidence
from pipeline.compare.records import FoldFigures, Judgement, Probe
from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.finetune.keep.judging import judge, smoothed_losses
from pipeline.finetune.start.frozen import FrozenSplit, extract_splits
from pipeline.finetune.start.heads import PENALTIES, Features, Masses, Targets, fit_head
from pipeline.finetune.start.prepared import spread
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.tasks.task import Task

FOLDS = 10
# Number of training samples that a probe is fitted on, about and at most: the order of backbones is clear by
# then, and fits of 20,000 samples would take most of a comparison's time.
MOST_SAMPLES = 8_000
# A penalty is no longer tried once so many lighter ones than the best one were no better.
PAST_BEST = 2
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices to fit on, and indices to judge on."""


def stratified_folds(targets: Targets, seed: int) -> list[Fold]:
    """Return up to ten stratified folds, the same for every backbone of a run.

    Args:
        targets: Class indices, int64 of shape (samples,).
        seed: The recipe's seed.

    Raises:
        DataError: A class has one training sample, so that no fold can be judged.
    """
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, int(np.bincount(targets)[np.unique(targets)].min()))
    if count < 2:
        raise DataError(
            "A class has but one training sample, and a comparison needs two of each. Add some, or leave the"
            " class out."
        )
    folds = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32)
    return [(fitted, judged) for fitted, judged in folds.split(targets, targets)]


@dataclass(frozen=True)
class CrossFitted:
    """Heads that were fitted without one fold each.

    Attributes:
        logits: Logits of each sample by the head that did not see it, float32 of shape (samples, classes).
        penalty: The penalty that is best over all folds.
    """

    logits: NDArray[np.float32]
    penalty: float


def cross_fit(
    features: Features, targets: Targets, folds: Sequence[Fold], masses: Masses | None = None
) -> CrossFitted:
    """Fit a head without each fold; the penalty of each is the one that is best on the other folds.

    So no sample has a part in the choice of the penalty that its own answer is judged with.

    Args:
        features: Features, float32 of shape (samples, features).
        targets: Class indices, int64 of shape (samples,).
        folds: The folds.
        masses: What each sample adds to each class, float32 of shape (samples, classes); None, the default,
            for one label a sample.
    """
    from pipeline.tasks.classification import CLASSIFICATION

    logits: list[list[NDArray[np.float32]]] = []
    losses: list[list[float]] = []
    for penalty in PENALTIES:
        row = [_fit_fold(features, targets, fold, penalty, masses) for fold in folds]
        logits.append(row)
        losses.append(
            [
                float(
                    smoothed_losses(CLASSIFICATION.probabilities(each), targets[judged], len(targets)).mean()
                )
                for each, (_, judged) in zip(row, folds, strict=True)
            ]
        )
        totals = np.array(losses).sum(axis=1)
        if len(totals) > totals.argmin() + PAST_BEST:  # the loss has one minimum
            break
    table = np.array(losses)
    answers = np.zeros((len(targets), logits[0][0].shape[1]), np.float32)
    for number, (_, judged) in enumerate(folds):
        others = np.delete(table, number, axis=1).sum(axis=1)
        answers[judged] = logits[int(others.argmin())][number]
    return CrossFitted(answers, PENALTIES[int(table.sum(axis=1).argmin())])


def _fit_fold(
    features: Features, targets: Targets, fold: Fold, penalty: float, masses: Masses | None
) -> NDArray[np.float32]:
    fitted, judged = fold
    some = None if masses is None else masses[fitted]
    return fit_head((features[fitted], targets[fitted]), penalty, some).logits(features[judged])


def probe_backbone(recipe: Recipe, run: RunFolder) -> Probe:
    """Judge a linear head on a recipe's frozen backbone; neither the test split nor the backbone is touched.

    Args:
        recipe: The recipe, whose backbone is used.
        run: The run's folder, whose stage ``data`` is done.

    Raises:
        GraftError: The backbone cannot be had, or cannot be used.
    """
    frozen, task = extract_splits(recipe, run, ["train", "validation"]), task_of(recipe)
    train, validation = frozen.splits["train"], frozen.splits["validation"]
    chosen = probed_rows(train.targets)
    features, targets = train.features[chosen], train.targets[chosen]
    masses = _rows_of(train, len(frozen.labels), chosen)
    folds = stratified_folds(targets, recipe.seed)
    crossed = cross_fit(features, targets, folds, masses)
    head = fit_head((features, targets), crossed.penalty, masses)
    held_out = judgement_of(task, head.logits(validation.features), validation.targets)
    out_of_fold = judgement_of(task, crossed.logits, targets)
    return Probe(
        folds=fold_figures(out_of_fold, targets, folds),
        out_of_fold=out_of_fold,
        validation=held_out,
        penalty=crossed.penalty,
        features=features.shape[1],
        logme=log_evidence(features, targets),
    )


def probed_rows(targets: Targets) -> NDArray[np.int64]:
    """Return the indices of the training samples that probes are fitted on."""
    return spread(targets, MOST_SAMPLES)


def _rows_of(split: FrozenSplit, classes: int, chosen: NDArray[np.int64]) -> Masses | None:
    masses = split.masses(classes)
    return None if masses is None else masses[chosen]


def judgement_of(task: Task, logits: NDArray[np.floating], targets: Targets) -> Judgement:
    """Judge logits, at the temperature that suits them.

    Args:
        task: The task.
        logits: Logits, of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
    """
    return Judgement.of(judge(task, logits, targets), task.answers(task.probabilities(logits)))


def fold_figures(judged: Judgement, targets: Targets, folds: Sequence[Fold]) -> FoldFigures:
    """Return the figures of each fold, and of all out-of-fold answers."""
    losses = np.array(judged.losses)
    right = np.array(judged.answers) == targets
    return FoldFigures(
        losses=tuple(float(losses[rows].mean()) for _, rows in folds),
        accuracies=tuple(float(right[rows].mean()) for _, rows in folds),
        sizes=tuple(len(rows) for _, rows in folds),
    )
