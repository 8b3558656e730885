"""The classic model without transfer, on the folds and the validation that every backbone is judged on."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.probe import fold_figures, judgement_of, probed_rows, stratified_folds
from pipeline.compare.records import Classic
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import Sample, labels_of, read_samples
from pipeline.finetune.start.adjustment import shift_of
from pipeline.finetune.start.imbalance import Balance, choose_balance
from pipeline.finetune.start.soft import masses_of, soft_of, weights_of
from pipeline.modalities.registry import modality_of
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of

log = logging.getLogger("graft")
LEAST = 1e-12
# Seconds that the fits without each fold may take, by what the fit of all samples took.
LONGEST_S = 180.0


class NoClassicError(GraftError):
    """The kind of input has no classic model, or it cannot be fitted on these samples."""


def probe_classic(recipe: Recipe, run: RunFolder) -> Classic:
    """Judge the kind's classic model as every backbone's linear head is judged; on validation alone if slow.

    Args:
        recipe: The recipe; its backbone plays no part.
        run: The run's folder, whose stage ``data`` is done. The test split is not read.

    Raises:
        NoClassicError: The kind has no such model, or it cannot be fitted.
    """
    everything = read_samples(run)
    labels, task = labels_of(everything), task_of(recipe)
    train, validation = (
        [sample for sample in everything if sample.split == split] for split in ("train", "validation")
    )
    chosen = [train[index] for index in probed_rows(_targets(train, labels))]
    targets = _targets(chosen, labels)
    began = time.monotonic()
    name, held_out = _answer(recipe, chosen, targets, validation)
    seconds = time.monotonic() - began
    judged = judgement_of(task, held_out, _targets(validation, labels))
    balanced = tuple(task.answers(task.probabilities(held_out + _shift(balance_of(recipe, run)))).tolist())
    folds = stratified_folds(targets, recipe.seed)
    if len(folds) * seconds > LONGEST_S:
        log.info("compare: %s took %.0f s to fit, and is judged on validation alone", name, seconds)
        return Classic(name=name, validation=judged, balanced=balanced)
    logits = np.zeros((len(chosen), len(labels)))
    for fitted, left_out in folds:
        some = [chosen[row] for row in fitted]
        logits[left_out] = _answer(recipe, some, targets[fitted], [chosen[row] for row in left_out])[1]
    out_of_fold = judgement_of(task, logits, targets)
    figures = fold_figures(out_of_fold, targets, folds)
    return Classic(name=name, validation=judged, balanced=balanced, folds=figures, out_of_fold=out_of_fold)


def balance_of(recipe: Recipe, run: RunFolder) -> Balance:
    """Return what a recipe's training does about classes of unequal size.

    Args:
        recipe: The recipe.
        run: The run's folder, whose stage ``data`` is done.
    """
    everything = read_samples(run)
    labels = labels_of(everything)
    train = [sample for sample in everything if sample.split == "train"]
    targets, soft, weights = _targets(train, labels), soft_of(train), weights_of(train)
    masses = masses_of(targets, soft, weights, len(labels))
    sizes = np.bincount(targets, minlength=len(labels)) if masses is None else masses.sum(axis=0)
    return choose_balance(recipe.finetune, np.asarray(sizes, np.float64), labels)


def _shift(balance: Balance) -> NDArray[np.float32]:
    """Return what balances the logits of a model that was fitted without weights, float32 (classes,)."""
    return shift_of(np.array(balance.sizes), balance.strength)


def _targets(samples: Sequence[Sample], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the class indices of samples, int64 of shape (samples,)."""
    return np.array([labels.index(sample.label) for sample in samples], np.int64)


def _answer(
    recipe: Recipe, fitted: Sequence[Sample], targets: NDArray[np.int64], asked: Sequence[Sample]
) -> tuple[str, NDArray[np.float64]]:
    """Fit the model on some samples, and return its name and its logits for others."""
    model = modality_of(recipe).fit_baseline(fitted, targets, recipe.seed)
    if model is None:
        raise NoClassicError(f"There is no classic model of {recipe.modality} samples without transfer.")
    return model.name, np.log(np.clip(model.probabilities(asked), LEAST, None))
