"""The verdict on transfer in a comparison: the backbone to take against a classic model without transfer."""

from __future__ import annotations

import numpy as np

from pipeline.compare.probe import probed_rows
from pipeline.compare.ranking import Standing
from pipeline.compare.records import Classic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.measures.records import TransferVerdict
from pipeline.measures.verdict import Opponent, judge_transfer
from pipeline.recipe.sections import Recipe


def judge_taken(taken: Standing, classic: Classic, recipe: Recipe, run: RunFolder) -> TransferVerdict:
    """Judge whether transfer helps, on the samples that the backbone was chosen on, and none of the test.

    That is validation where it was fine-tuned or the classic model has no folds, and else the training
    samples, each answered by what did not see it. A run asks the same of the test split, with more opponents.

    Args:
        taken: The backbone to take, with its probe.
        classic: The answers of the classic model to the same samples.
        recipe: The recipe of the run.
        run: The run's folder.
    """
    assert taken.probe is not None
    everything = read_samples(run)
    labels = labels_of(everything)
    split = "validation" if taken.tuned or classic.out_of_fold is None else "train"
    targets = np.array([labels.index(each.label) for each in everything if each.split == split], np.int64)
    if classic.out_of_fold is None or taken.tuned:
        ours = taken.tuned[-1].validation if taken.tuned else taken.probe.validation
        theirs = classic.validation
    else:
        ours, theirs = taken.probe.out_of_fold, classic.out_of_fold
        targets = targets[probed_rows(targets)]
    return judge_transfer(
        np.array(ours.answers),
        [Opponent(classic.name, is_transfer=False, answers=np.array(theirs.answers))],
        targets,
        len(labels),
        measure="accuracy",
        margin=recipe.transfer.margin,
        seed=recipe.seed,
    )
