"""Which task a recipe has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from pipeline.recipe.sections import Recipe


def task_of(recipe: Recipe) -> Task:  # noqa: ARG001 - a recipe that can choose its task is asked here
    """Return the task that a recipe trains for: classification, the only one that a recipe can have."""
    return CLASSIFICATION
