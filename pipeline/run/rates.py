"""The search for a learning rate in a run, whose samples are read first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.finetune.rates.find import Found


def find_learning_rate(target: Path, folder: Path | None, data_root: Path | None) -> Found:
    """Look for a run's learning rate; its samples are read and split first, if they are not yet.

    Args:
        target: A run's folder, or a recipe.
        folder: The run's folder, when the target is a recipe; None for the usual one.
        data_root: The folder that the data are in now; None where they have not moved.

    Raises:
        GraftError: The run, its data or its backbone cannot be had, or no rate trains it.
    """
    from pipeline.finetune.rates.find import find_rate
    from pipeline.run.runner import open_run, run_stage, working_on

    opened = open_run(target, folder, data_root)
    run_stage("data", opened)
    with working_on(opened, after="data"):
        return find_rate(opened.recipe, opened.folder)
