"""Packaging a run for other targets than its own Bento."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.packaged import Packaged
from pipeline.package.targets import TARGETS
from pipeline.run.runner import Run, working_on


def package_for(run: Run, target: str, output: Path | None = None) -> Packaged:
    """Turn a run's proven bundle into what a target takes.

    Args:
        run: The run; its stages up to ``verify`` are carried out first, if they are not yet.
        target: One of :data:`pipeline.package.targets.TARGETS`.
        output: The folder to write, which must be new or empty; None for ``package/TARGET`` in the run's
            folder, which is replaced.

    Raises:
        GraftError: The run cannot be carried out, or the target cannot be written.
    """
    if output is not None and output.is_dir() and any(output.iterdir()):
        # It is written in one step, by which all that was in it would be gone.
        raise GraftError(
            f"{output}: holds files already, and would be replaced as a whole. Name another, or remove it."
        )
    with working_on(run, after="verify"):
        return TARGETS[target].write(run.recipe, run.folder, output or run.folder.packaged(target))
