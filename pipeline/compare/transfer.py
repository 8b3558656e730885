"""The verdict on transfer in a comparison: the backbone to take against what does without transfer."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.classic import balance_of
from pipeline.compare.pieces import Pieces, key_of
from pipeline.compare.probe import probed_rows
from pipeline.compare.ranking import Standing
from pipeline.compare.records import Classic, Judgement, OwnOpponents
from pipeline.compare.scratch import answer_as_opponents
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.measures.records import TransferVerdict
from pipeline.measures.verdict import Opponent, judge_transfer
from pipeline.recipe.sections import Recipe
from pipeline.transfer.stage import HEAD, SCRATCH, measure_of

log = logging.getLogger("graft")


def find_verdict(
    taken: Standing, recipe: Recipe, classic: Classic | None, pieces: Pieces
) -> TransferVerdict | None:
    """Judge whether transfer helps, by the measure of a run and against all of its opponents.

    Where nothing was fine-tuned, the backbone is a head itself, and the classic model is its only opponent.

    Args:
        taken: The backbone to take, with its probe.
        recipe: The recipe with that backbone.
        classic: The answers of the classic model; None where the kind has none.
        pieces: The finished pieces, which are not made again.

    Returns:
        The verdict; None where nothing does without transfer.
    """
    own = None
    if taken.tuned:
        log.info("compare: the opponents of %s", taken.name)
        key = key_of("pipeline.compare.scratch", recipe, pieces.run, seconds=recipe.transfer.scratch_seconds)
        own = pieces.get(OwnOpponents, key, lambda: answer_as_opponents(recipe, pieces.run))
    if classic is None and (own is None or own.scratch is None):
        return None
    return judge_taken(taken, classic, own, recipe, pieces.run)


def judge_taken(
    taken: Standing, classic: Classic | None, own: OwnOpponents | None, recipe: Recipe, run: RunFolder
) -> TransferVerdict:
    """Judge whether transfer helps, on the samples that the backbone was chosen on, and none of the test.

    That is validation where it was fine-tuned or the classic model has no folds, and else the training
    samples, each answered by what did not see it. A run asks the same of the test split.

    Args:
        taken: The backbone to take, with its probe.
        classic: The answers of the classic model to the same samples; None where the kind has none.
        own: The backbone's own opponents; None where it was not fine-tuned.
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
        list(_opponents(classic, own, on_validation=on_validation)),
        targets,
        len(labels),
        measure=measure_of(balance_of(recipe, run)) if taken.tuned else "accuracy",
        margin=recipe.transfer.margin,
        seed=recipe.seed,
    )


def _opponents(
    classic: Classic | None, own: OwnOpponents | None, *, on_validation: bool
) -> Iterator[Opponent]:
    """Yield the opponents that there are."""
    if own is not None:
        yield Opponent(HEAD, is_transfer=True, answers=np.array(own.head))
    if classic is not None:
        theirs: Judgement | None = classic.validation if on_validation else classic.out_of_fold
        assert theirs is not None
        answers = theirs.answers if own is None else classic.balanced
        yield Opponent(classic.name, is_transfer=False, answers=np.array(answers))
    if own is not None and own.scratch is not None:
        yield Opponent(SCRATCH, is_transfer=False, answers=np.array(own.scratch))


def _targets(run: RunFolder, split: str) -> NDArray[np.int64]:
    """Return the class indices of a split, int64 of shape (samples,)."""
    everything = read_samples(run)
    labels = labels_of(everything)
    return np.array([labels.index(each.label) for each in everything if each.split == split], np.int64)
