"""Folders of files, each of which is one row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row, identify_files

COLUMN = "file"


class FolderSource:
    """A folder with all files below it, in the order of their paths.

    Hidden files and folders are left out, and links to a folder around them, which lead round in a circle.

    Args:
        path: Path of the folder.

    Raises:
        GraftError: It holds no file, or a folder in it cannot be read.
    """

    columns: tuple[str, ...] = (COLUMN,)
    shown: tuple[str, ...] = (COLUMN,)
    holds_paths = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.absolute()
        if not self.names:
            raise GraftError(f"{path}: holds no file.")

    @cached_property
    def names(self) -> list[str]:
        """The paths of all files from the folder, in order."""
        start = len(os.path.join(self.path, ""))  # noqa: PTH118 - of the text, not of the path
        return sorted(file[start:] for file in _list(os.fspath(self.path), (self.path.resolve(),)))

    def places(self) -> Iterator[int]:
        """Yield the number of each file."""
        yield from range(len(self.names))

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment, each with a path from the folder."""
        names = self.names[fragment.place : fragment.place + fragment.rows]
        return [Row((name,)) for name in names]

    def identity(self) -> str:
        """Return a hash of the paths, sizes and times of all files."""
        return identify_files(self.path, self.names)


def _list(folder: str, around: tuple[Path, ...]) -> Iterator[str]:
    """Yield the files below a folder; those that it lies in are given as they really are, itself last."""
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        _refuse(error)
    for entry in entries:
        if not _is_folder(entry):
            yield entry.path
            continue
        real = Path(entry.path).resolve() if entry.is_symlink() else around[-1] / entry.name
        if not any(each.is_relative_to(real) for each in around):
            yield from _list(entry.path, (*around, real))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; its row has an error
        return False


def _refuse(error: OSError) -> NoReturn:
    raise GraftError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error
