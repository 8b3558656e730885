"""Folders of files, each of which is one row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row

COLUMN = "file"


class FolderSource:
    """A folder with all files below it, in the order of their paths; hidden ones are left out.

    Args:
        path: Path of the folder.

    Raises:
        GraftError: It holds no file.
    """

    columns: tuple[str, ...] = (COLUMN,)
    shown: tuple[str, ...] = (COLUMN,)
    holds_paths = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.absolute()
        if not self._names:
            raise GraftError(f"{path}: holds no file.")

    @cached_property
    def _names(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = os.path.relpath(folder, self.path)
            found += [os.path.normpath(f"{inside}/{name}") for name in files if not name.startswith(".")]
        return sorted(found)

    def places(self) -> Iterator[int]:
        """Yield the number of each file."""
        yield from range(len(self._names))

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment, each with a path from the folder."""
        names = self._names[fragment.place : fragment.place + fragment.rows]
        return [Row((name,)) for name in names]

    def identity(self) -> str:
        """Return a hash of the paths, sizes and times of all files."""
        digest = hashlib.sha256()
        for name in self._names:
            state = (self.path / name).stat()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
