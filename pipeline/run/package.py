"""Packaging a run for other targets than its own Bento."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import cache_folder
from pipeline.package.container.handing import hand_over
from pipeline.package.packaged import Packaged
from pipeline.package.targets import TARGETS
from pipeline.run.runner import Run, working_on

NO_PLACE = frozenset({
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG),
})  # fmt: skip
# Files by which the folder of a target is known again. What has not got all of them is not replaced.
MARKS = {
    "oci": ("layout/oci-layout", "layout/index.json", "licences.csv"),
    "triton": ("graft.json", "compare.py", "requirements.txt"),
    "kubernetes": ("README.md", "base/kustomization.yaml", "autoscaling/kustomization.yaml"),
    "kserve": ("README.md", "servingruntime.yaml", "inferenceservice.yaml"),
}


def package_for(
    run: Run, target: str, output: Path | None = None, *, replace: bool = False, engine: str | None = None
) -> Packaged:
    """Turn a run's proven bundle into what a target takes.

    Args:
        run: The run, whose stages up to ``verify`` are done.
        target: One of :data:`pipeline.package.targets.TARGETS`.
        output: The folder to write; None for ``package/TARGET`` in the run's folder.
        replace: Whether such a folder may take the place of one that was written for the same target before.
        engine: Program that a finished image is handed over to; None for none.

    Raises:
        GraftError: A stage is not done, the target cannot be written, the folder holds something else, or the
            program does not take the image.
    """
    place = run.folder.packaged(target)
    if output is not None and output.resolve() != place.resolve():
        place = output.resolve()
        _require_apart(place, run.folder.root.resolve())
        with _explained(place):
            _require_free(place, target, replace=replace)
    with working_on(run, after="verify"), _explained(place):
        packaged = TARGETS[target].write(run.recipe, run.folder, place)
    if engine is None:
        return packaged
    name = hand_over(Path(packaged.place), engine)
    return Packaged(packaged.target, packaged.place, (f"{engine} has it as {name}",))


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        # A full disk does not always say where it is full.
        raise GraftError(
            f"{error.filename or place}: {error.strerror}, so that nothing was written; what was there "
            f"before stays. {_hint(error.errno)} a folder that can be written: --output DIR. "
            f"What is downloaded is kept in {cache_folder()}, or where GRAFT_CACHE says."
        ) from error


def _hint(number: int | None) -> str:
    """Return the beginning of what helps against an error of the system, up to its verb."""
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return "Free some space there, or name"
    return (
        "A file stands where a folder is needed. Name" if number in {errno.ENOTDIR, errno.EEXIST} else "Name"
    )


def _require_apart(output: Path, root: Path) -> None:
    """Refuse a folder whose replacement would take the run, or a part of it, away."""
    if output.is_relative_to(root) or root.is_relative_to(output):
        raise GraftError(
            f"{output}: is the run's folder, holds it or lies in it ({root}), and nothing there is replaced. "
            "Name a folder elsewhere, or give no --output."
        )


def _require_free(output: Path, target: str, *, replace: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not replace:
        raise GraftError(f"{output}: holds something already. Name another folder, or replace it: --force")
    if not output.is_dir() or not all((output / mark).is_file() for mark in MARKS.get(target, ())):
        raise GraftError(
            f"{output}: holds what was not written for the target {target}, so that it is not replaced. "
            "Name another folder, or remove it yourself."
        )
