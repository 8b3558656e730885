"""Which task a recipe and a bundle have."""

from __future__ import annotations

from pipeline.errors import GraftError
from pipeline.recipe.sections import Recipe
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.task import Task

TASKS: dict[str, Task] = {CLASSIFICATION.name: CLASSIFICATION}


def task_of(recipe: Recipe) -> Task:  # noqa: ARG001 - a recipe that can choose its task is asked here
    """Return the task that a recipe trains for: classification, the only one that a recipe can have."""
    return CLASSIFICATION


def task_named(name: str) -> Task:
    """Return the task of a bundle's manifest.

    Args:
        name: The manifest's ``task``.

    Raises:
        GraftError: There is no task of that name.
    """
    if name not in TASKS:
        raise GraftError(f"task: is {name!r}; known are {', '.join(TASKS)}.")
    return TASKS[name]
