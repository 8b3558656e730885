"""The backbone to take as its own opponents on validation: its head alone, and from random weights."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.records import OwnOpponents
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.finetune.stage import Started, start
from pipeline.finetune.start.adjustment import shift_of
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.transfer.scratch import train_from_scratch

log = logging.getLogger("graft")


def answer_as_opponents(recipe: Recipe, run: RunFolder) -> OwnOpponents:
    """Let the head of a recipe's backbone answer validation, and the network from random weights.

    The latter trains for ``transfer.scratch_seconds``. Both balance the classes as the recipe says.

    Args:
        recipe: The recipe.
        run: The run's folder, whose stage ``data`` is done. The test split is not read.

    Raises:
        GraftError: The backbone cannot be had.
    """
    started, task = start(recipe, run), task_of(recipe)
    balance = started.prepared.balance
    shift = shift_of(np.array(balance.sizes), balance.adjustment)

    def answers(logits: NDArray[np.float32]) -> tuple[int, ...]:
        return tuple(task.answers(task.probabilities(logits + shift)).tolist())

    scratch = _train(started, recipe.transfer.scratch_seconds)
    return OwnOpponents(
        head=answers(started.prepared.floor.logits), scratch=None if scratch is None else answers(scratch)
    )


def _train(started: Started, seconds: float) -> NDArray[np.float32] | None:
    """Return the logits of the network from random weights on validation; None where it cannot be trained."""
    if seconds == 0:
        return None
    try:
        return train_from_scratch(started, started.prepared.validation.examples, seconds).logits
    except GraftError as error:
        log.warning("compare: the backbone cannot be trained from random weights: %s", error)
        return None
