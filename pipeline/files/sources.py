"""The sources of a recipe: files at a path, or files that an installed package ships."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.machine.extras import remedy_for
from serving.model.files import hash_file

PACKAGE = "package:"
HUB = "hub:"
SOURCE_KEY = "data.source"
CODE_SUFFIXES = frozenset({".py", ".pyi", ".so", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg"})
NO_CODE = frozenset({"__pycache__", "site-packages"})


class SourceMissingError(GraftError):
    """There is nothing at a place that a recipe names.

    Args:
        what: What is missing: the key of the recipe, and the place.
        remedy: The sentence that tells how to mend it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy


def locate(source: str, what: str) -> Path:
    """Return the path of a file or folder that a recipe names.

    Args:
        source: A path, or ``package:NAME/PATH``: a path inside an installed package, which is not imported.
        what: Key of the recipe that names it, such as ``data.source``, for the error.

    Raises:
        SourceMissingError: The package is not installed, or there is nothing at the path.
    """
    path = _in_package(source, what) if source.startswith(PACKAGE) else Path(source)
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises on names that no file system can hold
        moved = ", or name the folder that the data are in now: --data-root DIR" if what == SOURCE_KEY else ""
        raise SourceMissingError(
            f"{what}: {path} does not exist",
            f"Correct the path in the recipe (relative paths count from its folder){moved}.",
        )
    return path


def root_of(source: str, root: str | None) -> Path | None:
    """Return the folder that the names of samples count from, which is the data's root.

    Args:
        source: The recipe's ``data.source``.
        root: The recipe's ``data.root``.

    Returns:
        A folder itself; of a table ``data.root``, or else its own folder. None for a data set of the hub, and
        where there is neither folder nor table and ``data.root`` is not given.
    """
    if source.startswith(HUB):
        return None
    try:
        path = locate(source, SOURCE_KEY)
    except SourceMissingError:
        return Path(root) if root else None
    if path.is_dir():
        return path
    return Path(root) if root else path.parent


def name_below(path: Path, root: Path) -> str:
    """Return the name of a file relative to the data's root, with ``/`` between its parts.

    Args:
        path: The file, which may also lie outside: it is then named by way of ``..``.
        root: The data's root.
    """
    return Path(os.path.relpath(path, root)).as_posix()


def _in_package(source: str, what: str) -> Path:
    name, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise SourceMissingError(f"{what}: the package `{name}` is not installed", f"Try: {remedy_for(name)}")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def hash_source(source: str, what: str) -> str:
    """Return the SHA-256, in hexadecimal, of a recipe's file, or over all files of its folder.

    Args:
        source: The file or folder, as :func:`locate` takes it.
        what: Key of the recipe that names it, such as ``data.source``, for the error.

    Raises:
        SourceMissingError: There is no such file or folder.
    """
    path = locate(source, what)
    if path.is_file():
        return hash_file(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_code_folder(folder: str, what: str) -> str:
    """Return the SHA-256, in hexadecimal, over the code and the configuration in a folder.

    Data, weights, hidden folders, compiled files and what is installed below the folder are left out, so that
    the hash changes neither by running the code nor by what it writes.

    Args:
        folder: The folder, as :func:`locate` takes it.
        what: Key of the recipe that names it, such as ``backbone.name``, for the error.

    Raises:
        SourceMissingError: There is no such folder.
    """
    root, digest = locate(folder, what), hashlib.sha256()
    for path in sorted(_code_below(root)):
        digest.update(f"{path.relative_to(root).as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def _code_below(root: Path) -> Iterator[Path]:
    """Yield the files of code and configuration below a folder."""
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NO_CODE]
        yield from (Path(place, name) for name in names if Path(name).suffix.lower() in CODE_SUFFIXES)


def hash_files(paths: Iterable[Path], folder: Path | None = None) -> dict[str, str]:
    """Return the SHA-256, in hexadecimal, of each file, by its name.

    Args:
        paths: The files.
        folder: Folder that their names are relative to. By default a name is that of the file alone, which
            must be unique.
    """
    return {
        path.relative_to(folder).as_posix() if folder else path.name: hash_file(path)
        for path in sorted(paths)
    }
