"""Where a recipe's files are: a path, or a file that an installed package ships."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.machine.extras import remedy_for
from serving.model.files import hash_file

PACKAGE = "package:"


def locate(source: str, what: str) -> Path:
    """The place of a recipe's file or folder.

    Args:
        source: A path, or ``package:NAME/PATH``: a path inside an installed package, which is not imported.
        what: What it is to the recipe, such as ``data.source``, for the error.

    Raises:
        GraftError: The package is not installed, or there is nothing at the path.
    """
    path = _in_package(source, what) if source.startswith(PACKAGE) else Path(source)
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises on names that no file system can hold
        raise GraftError(
            f"{what}: {path} does not exist. Correct the path in the recipe "
            "(relative paths count from its folder)."
        )
    return path


def _in_package(source: str, what: str) -> Path:
    name, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise GraftError(f"{what}: the package `{name}` is not installed. Try: {remedy_for(name)}")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def hash_source(source: str, what: str) -> str:
    """SHA-256, in hex, of a recipe's file, or of every file in its folder."""
    path = locate(source, what)
    if path.is_file():
        return hash_file(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_files(paths: Iterable[Path], folder: Path | None = None) -> dict[str, str]:
    """Return the SHA-256, in hexadecimal, of each file.

    Args:
        paths: The files.
        folder: Folder that they are named from. By default each has its own name, which must be unique.
    """
    return {
        path.relative_to(folder).as_posix() if folder else path.name: hash_file(path)
        for path in sorted(paths)
    }
