"""Tables of delimited text: what they are, and their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.tables.dialects import WHITESPACE, Dialect, is_blank, read_table_lines, split_rows
from pipeline.data.tables.encodings import find_encoding, guess_encoding
from pipeline.data.tables.rows import MOST_LISTED, Row, Rows, check_names, explain_ragged
from pipeline.data.tables.sniffing import Reading, explain_choice, find_readings
from pipeline.errors import DataError
from pipeline.recipe.data import Table

log = logging.getLogger("graft")


@dataclass(frozen=True)
class _Delimited:
    """The rows of a table of text; each pass reads the file anew."""

    path: Path
    encoding: str
    dialect: Dialect
    columns: tuple[str, ...]
    has_header: bool

    def __iter__(self) -> Iterator[Row]:
        ragged: list[str] = []
        count, width, header = 0, len(self.columns), self.has_header
        first, _, lines = read_table_lines(self.path, self.encoding)
        for line, values in split_rows(lines, self.dialect, self.path, first):
            if is_blank(values, width):
                continue
            if header:
                header = False
            elif len(values) == width:
                yield Row(line, tuple(values))
            else:
                count += 1
                if len(ragged) < MOST_LISTED:
                    ragged.append(f"line {line}: {len(values)} values")
        if count:
            raise DataError(explain_ragged(self.path, self.columns, ragged, count))


def open_delimited(path: Path, table: Table) -> Rows:
    """Open a table of delimited text.

    Args:
        path: Path of the table.
        table: The recipe's section that says how to read it; what is ``auto`` is found in the file.

    Raises:
        DataError: The table cannot be read, can be read in several ways, or its names of columns are faulty.
    """
    known, total = _understand(path, table)
    dialect = _dialect(known)
    columns = known.columns or read_first(path, known)
    remedy = "Rename them in the file's first line" if not table.columns else "Correct data.table.columns"
    hint = ""
    if not table.columns:
        hint = ", or, if that line is the first row, name the columns as data.table.columns"
    names = check_names(path, columns, f"{remedy}{hint}.")
    rows = _Delimited(path, known.encoding, dialect, names, has_header=not table.columns)
    return Rows(str(path), names, rows, total)


def understand_delimited(path: Path, table: Table) -> Table:
    """Return the format of a table of text with everything that was ``auto`` as the file has it.

    Raises:
        DataError: The table cannot be read, or can be read in several ways.
    """
    return _understand(path, table)[0]


def propose_readings(path: Path, table: Table) -> tuple[Table, ...]:
    """Return the formats in which a table of text can be read, the likeliest first, its encoding guessed.

    Raises:
        DataError: The table cannot be read in any way.
    """
    encoding = guess_encoding(path) if table.encoding == "auto" else table.encoding
    return tuple(_apply(table, encoding, reading) for reading in find_readings(path, table, encoding))


def read_first(path: Path, table: Table) -> tuple[str, ...]:
    """Return the values of the first row of a table of text, which may be the names of its columns.

    Args:
        path: Path of the table.
        table: Its format, in which nothing is ``auto``.

    Raises:
        DataError: The table is empty, or cannot be read.
    """
    first, _, lines = read_table_lines(path, table.encoding)
    for _, values in split_rows(lines, _dialect(table), path, first):
        if len(values) > 1 or values[0].strip():
            return tuple(values)
    raise DataError(f"{path}: the table is empty.")


def _understand(path: Path, table: Table) -> tuple[Table, int | None]:
    encoding = find_encoding(path, table.encoding)
    if table.separator == WHITESPACE and table.quoting == "csv":
        raise DataError(
            f"{path}: data.table.quoting: csv needs a separator of one character, "
            "but data.table.separator is whitespace. Remove one of both."
        )
    if table.separator not in {"auto", WHITESPACE} and len(table.separator) != 1:
        raise DataError(
            f"data.table.separator: {table.separator!r} is not one character. Take one character."
        )
    if table.separator != "auto" and table.quoting != "auto":
        return table.model_copy(update={"encoding": encoding}), None
    readings = find_readings(path, table, encoding)
    if len(readings) > 1:
        raise DataError(explain_choice(path, readings))
    known = _apply(table, encoding, readings[0])
    total = readings[0].rows - (not table.columns)
    if table.separator == "auto" or table.encoding == "auto":
        log.debug("%s: separator %r, %s, %s", path, known.separator, known.encoding, known.quoting)
    return known, None if known.separator == WHITESPACE else total


def _apply(table: Table, encoding: str, reading: Reading) -> Table:
    dialect = reading.dialect
    return table.model_copy(
        update={
            "encoding": encoding,
            "separator": dialect.separator,
            "quoting": dialect.quoting,
            "escape": dialect.escape,
        }
    )


def _dialect(table: Table) -> Dialect:
    return Dialect(table.separator, "none" if table.quoting == "none" else "csv", table.escape)
