"""Packaging a run for other targets than its own Bento."""

from __future__ import annotations

from pathlib import Path

from pipeline.package.packaged import Packaged
from pipeline.package.targets import TARGETS
from pipeline.run.runner import Run, working_on


def package_for(run: Run, target: str, output: Path | None = None) -> Packaged:
    """Turn a run's proven bundle into what a target takes.

    Args:
        run: The run; its stages up to ``verify`` are carried out first, if they are not yet.
        target: One of :data:`pipeline.package.targets.TARGETS`.
        output: The folder to write; None for ``package/TARGET`` in the run's folder.

    Raises:
        GraftError: The run cannot be carried out, or the target cannot be written.
    """
    with working_on(run, after="verify"):
        return TARGETS[target].write(run.recipe, run.folder, output or run.folder.packaged(target))
