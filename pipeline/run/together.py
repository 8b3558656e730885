"""A run that several processes carry out: the first one as always, the others where work is shared.

All processes are started with one command. The first holds the run's lock, does the stages and writes. The
others wait until it comes to the one stage that is shared, do that with it, and end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pipeline.files.layout import RunFolder
from pipeline.machine.processes import join, leave
from pipeline.recipe.sections import Recipe
from pipeline.recipe.stage import Stage


@contextmanager
def with_helpers(stage: Stage, recipe: Recipe) -> Iterator[None]:
    """Let the waiting processes do a stage together with this one, if it is shared.

    Args:
        stage: The stage that the first process carries out within the block.
        recipe: The run's recipe.
    """
    _tell(stage, recipe, begins=True)
    yield
    if stage.is_shared:
        leave()


def dismiss_helpers(stage: Stage, recipe: Recipe) -> None:
    """Let the waiting processes end, if a stage is shared that was done before.

    Args:
        stage: The stage that the first process skips.
        recipe: The run's recipe.
    """
    _tell(stage, recipe, begins=False)
    if stage.is_shared:
        leave()


def help_with(stage: Stage, recipe: Recipe, run: RunFolder) -> float | None:
    """Wait for the first process to come to the shared stage, and do it with it.

    Args:
        stage: The stage that is shared.
        recipe: The run's recipe.
        run: The run's folder.

    Returns:
        Seconds that it took; None where it was done before.
    """
    begins = bool(join(recipe.finetune.device).from_first(dict)["begins"])
    start = time.monotonic()
    if begins:
        stage.execute(recipe, run)
    leave()
    return round(time.monotonic() - start, 3) if begins else None


def _tell(stage: Stage, recipe: Recipe, *, begins: bool) -> None:
    if stage.is_shared:
        join(recipe.finetune.device).from_first(lambda: {"begins": np.array(begins)})
