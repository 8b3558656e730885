"""Which task a recipe has."""

from __future__ import annotations

from pipeline.recipe.sections import Recipe
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.task import Task


def task_of(recipe: Recipe) -> Task:  # noqa: ARG001 - a recipe that can choose its task is asked here
    """Return the task that a recipe trains for: classification, the only one that a recipe can have."""
    return CLASSIFICATION
