"""Packaging a run for other targets than its own Bento."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.container.handing import hand_over
from pipeline.package.packaged import Packaged
from pipeline.package.targets import TARGETS
from pipeline.run.runner import Run, working_on


def package_for(
    run: Run, target: str, output: Path | None = None, *, replace: bool = False, engine: str | None = None
) -> Packaged:
    """Turn a run's proven bundle into what a target takes.

    Args:
        run: The run, whose stages up to ``verify`` are done.
        target: One of :data:`pipeline.package.targets.TARGETS`.
        output: The folder to write; None for ``package/TARGET`` in the run's folder.
        replace: Whether such a folder may take the place of another that holds something.
        engine: Program that a finished image is handed over to; None for none.

    Raises:
        GraftError: A stage is not done, the target cannot be written, or the program does not take the image.
    """
    if output is not None and not replace:
        _require_free(output)
    with working_on(run, after="verify"):
        packaged = TARGETS[target].write(run.recipe, run.folder, output or run.folder.packaged(target))
    if engine is None:
        return packaged
    name = hand_over(Path(packaged.place), engine)
    return Packaged(packaged.target, packaged.place, (f"{engine} has it as {name}",))


def _require_free(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise GraftError(f"{output}: holds something already. Name another folder, or replace it: --force")
