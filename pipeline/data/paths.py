"""Paths in tables: written on any system, relative to any folder, and found on this one."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from pipeline.errors import DataError
from pipeline.files.sources import name_below
from pipeline.recipe.data import Data
from pipeline.reporting.printable import listing, printable

FILE_URL = "file://"
FORMS: Final[tuple[Literal["NFC", "NFD"], ...]] = ("NFC", "NFD")


class FilesElsewhereError(DataError):
    """None of the files that tables name is there: they are somewhere else."""


class PathReader:
    """Finds the files that a table names, and says at the end which are not there.

    Args:
        data: The recipe's section ``data``.
        root: Folder that the sources of the samples count from.
    """

    def __init__(self, data: Data, root: Path) -> None:
        self._table = data.table
        self._base = Path(data.root) if data.root else None
        self._root = root
        self._skips = data.on_unreadable == "skip"
        self._missing: list[str] = []
        self._are_some_there = False
        self._first: str | None = None

    def find(self, value: str | None, folder: Path, place: str) -> tuple[str, Path]:
        """Return the source of a sample, relative to the data's root, and its absolute path.

        Args:
            value: What the table holds: a path of any system, or a URL ``file://``.
            folder: Folder that the paths of the table count from.
            place: Where it stands, such as ``train.csv, line 17``, for messages.
        """
        written = (value or "").strip()
        path = self._locate(written, self._base or folder)
        if path is None:
            self._missing.append(f"{place}: {printable(written)}")
            self._first = self._first or written
            path = Path((self._base or folder) / (written.replace("\0", "") or "nothing"))
        else:
            self._are_some_there = True
        return relative_to(path, self._root), path

    def _locate(self, written: str, folder: Path) -> Path | None:
        """Return the path of the file that is there under one of the forms of a name; None for none."""
        if not written:
            return None
        return next((path for path in self._forms(written, folder) if _is_there(path)), None)

    def _forms(self, written: str, folder: Path) -> Iterator[Path]:
        """Yield the paths that a written one may stand for: as it is, then from other systems."""
        names = [written, written + self._table.suffix] if self._table.suffix else [written]
        for name in names:
            bare = self._bare(name)
            yield folder / bare
            slashed = bare.replace("\\", "/")
            for form in FORMS:
                yield folder / unicodedata.normalize(form, slashed)

    def _bare(self, name: str) -> str:
        """Return a name without ``file://`` and without the beginning that the recipe takes off."""
        is_url = name.startswith(FILE_URL)
        if is_url:
            name = unquote(name.removeprefix(FILE_URL))
        strip = unquote(self._table.strip.removeprefix(FILE_URL)) if is_url else self._table.strip
        for form in (name, name.replace("\\", "/")):
            if strip and form.startswith(strip):
                return form.removeprefix(strip).lstrip("/\\")
        return name

    def finish(self) -> list[str]:
        """Return what there is to tell of the paths.

        Raises:
            DataError: Files are not there, and the recipe does not skip what cannot be read; a
                :class:`FilesElsewhereError` where that is so of all.
        """
        if not self._missing:
            return []
        if self._skips:
            return [f"{len(self._missing):,} file(s) of the table are not there"]
        refused = DataError if self._are_some_there else FilesElsewhereError
        raise refused(
            f"{len(self._missing):,} file(s) that the table names are not there:\n{listing(self._missing)}\n"
            f"{self._remedy()}"
        )

    def _remedy(self) -> str:
        prefix = find_prefix(self._first or "", self._base or self._root)
        if prefix is not None:
            return (
                f"They are here without their beginning: data.table.strip: '{printable(prefix)}'. "
                "Or leave out what is not there, counted: data.on_unreadable: skip"
            )
        return (
            f"Paths count from {self._base or self._root}: name another folder (data.root, or of a run "
            "--data-root DIR), the suffix that the names lack (data.table.suffix: .jpg), or leave out "
            "what is not there, counted: data.on_unreadable: skip"
        )


def find_prefix(written: str, folder: Path) -> str | None:
    """Return the beginning without which a path leads to a file below a folder; None where there is none.

    Args:
        written: A path, perhaps an absolute one of another machine.
        folder: The folder.
    """
    parts = written.replace("\\", "/").removeprefix(FILE_URL).split("/")
    for start in range(1, len(parts)):
        if _is_there(folder / "/".join(parts[start:])):
            return written[: len(written) - len("/".join(parts[start:]))]
    return None


def relative_to(path: Path, root: Path) -> str:
    """Return a path relative to a folder, with ``/`` between names; it may begin with ``../``."""
    return name_below(path, root)


def _is_there(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises on names that no file system can hold
