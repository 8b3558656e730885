"""The verdict on transfer in a comparison: the backbone to take against what does without transfer."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.pieces import Pieces, key_of
from pipeline.compare.probe import probed_rows
from pipeline.compare.ranking import Standing
from pipeline.compare.records import Classic, FromScratch, Judgement
from pipeline.compare.scratch import answer_from_scratch
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.measures.records import TransferVerdict
from pipeline.measures.verdict import Opponent, judge_transfer
from pipeline.recipe.sections import Recipe

log = logging.getLogger("graft")
HEAD = "the best linear head on frozen features"
SCRATCH = "the same network from random weights"


def find_verdict(
    taken: Standing, recipe: Recipe, classic: Classic | None, pieces: Pieces
) -> TransferVerdict | None:
    """Train the backbone to take from random weights, if it was fine-tuned, and judge whether transfer helps.

    Args:
        taken: The backbone to take, with its probe.
        recipe: The recipe with that backbone.
        classic: The answers of the classic model; None where the kind has none.
        pieces: The finished pieces, which are not made again.

    Returns:
        The verdict; None where nothing does without transfer.
    """
    scratch, seconds = None, recipe.transfer.scratch_seconds
    if taken.tuned and seconds > 0:
        log.info("compare: %s from random weights", taken.name)
        key = key_of("pipeline.compare.scratch", recipe, pieces.run, seconds=seconds)
        try:
            scratch = pieces.get(FromScratch, key, lambda: answer_from_scratch(recipe, pieces.run))
        except GraftError as error:
            log.warning("compare: %s cannot be trained from random weights: %s", taken.name, error)
    if classic is None and scratch is None:
        return None
    return judge_taken(taken, classic, scratch, recipe, pieces.run)


def judge_taken(
    taken: Standing, classic: Classic | None, scratch: FromScratch | None, recipe: Recipe, run: RunFolder
) -> TransferVerdict:
    """Judge whether transfer helps, on the samples that the backbone was chosen on, and none of the test.

    That is validation where it was fine-tuned or the classic model has no folds, and else the training
    samples, each answered by what did not see it. A run asks the same of the test split.

    Args:
        taken: The backbone to take, with its probe.
        classic: The answers of the classic model to the same samples; None where the kind has none.
        scratch: The answers of the backbone from random weights; None where it was not fine-tuned.
        recipe: The recipe with that backbone.
        run: The run's folder.
    """
    assert taken.probe is not None
    labels = labels_of(read_samples(run))
    on_validation = bool(taken.tuned) or classic is None or classic.out_of_fold is None
    targets = _targets(run, "validation" if on_validation else "train")
    if not on_validation:
        targets = targets[probed_rows(targets)]
    if taken.tuned:
        ours = taken.tuned[-1].validation
    else:
        ours = taken.probe.validation if on_validation else taken.probe.out_of_fold
    return judge_transfer(
        np.array(ours.answers),
        list(_opponents(taken, classic, scratch, on_validation=on_validation)),
        targets,
        len(labels),
        measure="accuracy",
        margin=recipe.transfer.margin,
        seed=recipe.seed,
    )


def _opponents(
    taken: Standing, classic: Classic | None, scratch: FromScratch | None, *, on_validation: bool
) -> Iterator[Opponent]:
    """Yield the opponents: the head only where the backbone was fine-tuned, and is not the head itself."""
    assert taken.probe is not None
    if taken.tuned:
        yield Opponent(HEAD, is_transfer=True, answers=np.array(taken.probe.validation.answers))
    if classic is not None:
        theirs: Judgement | None = classic.validation if on_validation else classic.out_of_fold
        assert theirs is not None
        yield Opponent(classic.name, is_transfer=False, answers=np.array(theirs.answers))
    if scratch is not None:
        yield Opponent(SCRATCH, is_transfer=False, answers=np.array(scratch.answers))


def _targets(run: RunFolder, split: str) -> NDArray[np.int64]:
    """Return the class indices of a split, int64 of shape (samples,)."""
    everything = read_samples(run)
    labels = labels_of(everything)
    return np.array([labels.index(each.label) for each in everything if each.split == split], np.int64)
