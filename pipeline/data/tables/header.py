"""Tables without a line of names: found by what stands in their first line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from pipeline.data.tables.delimited import open_delimited, propose_readings, read_first
from pipeline.data.tables.rows import Rows
from pipeline.recipe.data import Table

ROWS_SEEN = 500
NAME = re.compile(r"[^\W\d][\w .:()/#-]{0,39}")
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")
USUAL = frozenset(
    {
        *(
            "category",
            "class",
            "intent",
            "label",
            "labels",
            "rating",
            "score",
            "sentiment",
            "split",
            "target",
        ),
        *("comment", "content", "message", "question", "review", "sentence", "text", "title", "tweet"),
        *("file", "file_name", "filename", "id", "image", "index", "path", "utterance", "x", "y"),
    }
)


def has_header(path: Path, table: Table) -> bool:
    """Return whether the first line of a table of text names its columns; a guess from its first rows.

    Args:
        path: Path of the table.
        table: Its format.

    Raises:
        DataError: The table cannot be read.
    """
    values, rows = _look(path, table)
    if any(value.strip().lower() in USUAL for value in values):
        return True
    if len(set(values)) < len(values):
        return False
    if any(not value.strip() for value in values):
        return False
    if not all(NAME.fullmatch(value.strip()) and not _is_path(value) for value in values):
        return False
    return not any(value in {row[index] for row in rows} for index, value in enumerate(values))


def name_columns(path: Path, table: Table) -> tuple[str, ...]:
    """Return names for the columns of a table of text that names none: path, text, label, and numbered ones.

    Args:
        path: Path of the table.
        table: Its format.

    Raises:
        DataError: The table cannot be read.
    """
    first, later = _look(path, table)
    columns = list(zip(*[first, *later], strict=True))
    names = [f"column{index}" for index in range(1, len(columns) + 1)]
    content = max(range(len(columns)), key=lambda index: _weight(columns[index]))
    names[content] = table.path if _are_paths(columns[content]) else table.text
    others = [index for index in range(len(columns)) if index != content]
    if others:
        names[min(others, key=lambda index: _variety(columns[index]))] = table.label
    return tuple(names)


def _look(path: Path, table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the values of the first line, and of some rows below."""
    rows = _open_without_header(path, table)
    values = [[str(value) for value in row.values] for row in islice(rows, ROWS_SEEN + 1)]
    return values[0], values[1:]


def _open_without_header(path: Path, table: Table) -> Rows:
    """Open a table with its first line as a row."""
    known = propose_readings(path, table.model_copy(update={"columns": None}))[0]
    columns = tuple(f"column{index}" for index in range(len(read_first(path, known))))
    return open_delimited(path, known.model_copy(update={"columns": columns}))


def _weight(values: Sequence[str]) -> tuple[bool, float]:
    return _are_paths(values), sum(map(len, values)) / len(values)


def _variety(values: Sequence[str]) -> tuple[int, float]:
    return len(set(values)), sum(map(len, values)) / len(values)


def _are_paths(values: Sequence[str]) -> bool:
    return all(_is_path(value) for value in values)


def _is_path(value: str) -> bool:
    return SUFFIX.fullmatch(PurePosixPath(value.strip().replace("\\", "/")).suffix) is not None
