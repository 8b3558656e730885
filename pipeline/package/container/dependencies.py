"""The layer of the packages of Python, and of the package ``serving`` itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.package.bento.carried import carried_files, serving_folder
from pipeline.package.container.entries import SITE, Member, read_wheel
from pipeline.package.container.pruning import prune


def read_dependencies(wheels: Sequence[Path]) -> list[Member]:
    """Return the files of the layer.

    Args:
        wheels: The packages, as ``.whl`` files.

    Raises:
        GraftError: One of them is no wheel.
    """
    entries = [entry for wheel in wheels for entry in read_wheel(wheel)]
    return [*prune(entries), *_read_serving()]


def _read_serving() -> list[Member]:
    """Return the files of the service, without BentoML's face, which this image has no BentoML for."""
    folder = serving_folder()
    names = {path: path.relative_to(folder).as_posix() for path in carried_files()}
    return [
        Member(f"{SITE}/serving/{name}", content=path.read_bytes())
        for path, name in names.items()
        if not name.startswith("service/")
    ]
