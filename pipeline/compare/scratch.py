"""The backbone to take from random weights, as an opponent on validation."""

from __future__ import annotations

from pipeline.compare.records import FromScratch
from pipeline.files.layout import RunFolder
from pipeline.finetune.stage import start
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.transfer.scratch import train_from_scratch


def answer_from_scratch(recipe: Recipe, run: RunFolder) -> FromScratch:
    """Train a recipe's network from random weights for ``transfer.scratch_seconds``, and answer validation.

    Args:
        recipe: The recipe.
        run: The run's folder, whose stage ``data`` is done. The test split is not read.

    Raises:
        GraftError: The backbone cannot be had, or cannot be trained from random weights.
    """
    started, task = start(recipe, run), task_of(recipe)
    validation = started.prepared.validation.examples
    found = train_from_scratch(started, validation, recipe.transfer.scratch_seconds)
    answers = task.answers(task.probabilities(found.logits))
    return FromScratch(answers=tuple(answers.tolist()), told=found.told, seconds=found.seconds)
