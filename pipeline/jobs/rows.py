"""The rows of a job's input, and the fragments that they are worked on in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

EDGE_BYTES = 1024 * 1024
NOT_UTF8 = "is not in UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the input.

    Attributes:
        values: Its values, in the order of the columns: what JSON and Parquet hold, and text in CSV.
        fault: Why it cannot be read as a row; None, the default, if it can. Its values are then what is left.
    """

    values: tuple[object, ...]
    fault: str | None = None


@dataclass(frozen=True)
class Fragment:
    """A run of neighbouring rows that is worked on as a whole.

    Attributes:
        index: Number of the fragment, from 0.
        start: Number of its first row, from 0.
        rows: Number of its rows.
        place: Where its first row begins in the input, as its reader says it: a number of bytes or of rows.
    """

    index: int
    start: int
    rows: int
    place: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"fragment-{self.index:08d}"


class Source(Protocol):
    """An input that is read fragment by fragment, by several threads if need be.

    Attributes:
        path: Path of the table or folder.
        columns: Names of the columns.
        shown: Names of those columns that the output repeats.
        base: The folder that paths in the input count from.
        holds_paths: Whether its values are paths for every kind of input, as those of a folder are.
    """

    path: Path
    columns: tuple[str, ...]
    shown: tuple[str, ...]
    base: Path
    holds_paths: bool

    def places(self) -> Iterator[int]:
        """Yield the place of each row, by a pass over the input."""

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment."""

    def identity(self) -> str:
        """Return what tells this input from a changed one."""


def cut(places: Iterable[int], rows: int) -> list[Fragment]:
    """Cut an input into fragments.

    Args:
        places: The place of each row.
        rows: Most rows of a fragment.
    """
    firsts: list[int] = []
    count = 0
    for place in places:
        if count % rows == 0:
            firsts.append(place)
        count += 1
    return [
        Fragment(index, index * rows, min(rows, count - index * rows), first)
        for index, first in enumerate(firsts)
    ]


def identify_files(folder: Path, names: Iterable[str]) -> str:
    """Return a hash of the paths, sizes and times of files.

    Args:
        folder: The folder that their paths count from.
        names: Their paths.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{_state(folder / name)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:  # a link that leads nowhere; its row has an error
        return "none"
    return f"{state.st_size} {state.st_mtime_ns}"


def identify_file(path: Path) -> str:
    """Return the size of a file, when it was changed, and a hash of its first and last megabyte.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    state = path.stat()
    with path.open("rb") as file:
        edges = file.read(EDGE_BYTES)
        if state.st_size > EDGE_BYTES:
            file.seek(-EDGE_BYTES, 2)
            edges += file.read()
    return f"{state.st_size} {state.st_mtime_ns} {hashlib.sha256(edges).hexdigest()}"
