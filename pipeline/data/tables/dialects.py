"""The dialects of delimited text, and the rows of each."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from pipeline.data.tables.encodings import read_lines
from pipeline.errors import DataError
from pipeline.files.samples import LONGEST_FIELD

WHITESPACE = "whitespace"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}


@dataclass(frozen=True)
class Dialect:
    """The way in which values are written to lines of text.

    Attributes:
        separator: The character between values, or ``whitespace``.
        quoting: ``csv`` when values may stand in double quotes, ``none`` when a quote is a character like any
            other.
        escape: The character that takes the meaning of the one after it; None where there is none.
    """

    separator: str
    quoting: Literal["csv", "none"]
    escape: str | None = None

    def describe(self) -> str:
        """Return the keys of the recipe that choose this dialect, but for the separator."""
        escape = f", data.table.escape: '{self.escape}'" if self.escape else ""
        return f"data.table.quoting: {self.quoting}{escape}"


class QuoteError(DataError):
    """A quote that is not closed, or text after a closing one."""


def read_table_lines(path: Path, encoding: str) -> tuple[int, str | None, Iterator[str]]:
    """Open a table of text, and take off a first line that only names the separator, as Excel writes it.

    Args:
        path: Path of the table.
        encoding: Python's name of its encoding.

    Returns:
        The number of the first line; the separator that a line such as ``sep=;`` names, or None; and the
        lines, with their ends.

    Raises:
        DataError: The first line cannot be read.
    """
    lines = read_lines(path, encoding)
    first = next(lines, "")
    named = SEPARATOR_LINE.fullmatch(first)
    return (2, named[1], lines) if named else (1, None, chain([first] if first else [], lines))


def split_rows(
    lines: Iterable[str], dialect: Dialect, source: Path, first: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Yield the values of each line that is not empty, with the line at which it begins.

    Args:
        lines: The lines of the table, with their ends.
        dialect: The dialect of the table.
        source: Path of the table, for errors.
        first: Number of the first line.

    Raises:
        QuoteError: A quote is not closed, or text stands after a closing one.
        DataError: A value is too long.
    """
    if dialect.separator == WHITESPACE:
        return ((number, values) for number, line in enumerate(lines, first) if (values := line.split()))
    if dialect.quoting == "none" and dialect.escape is None:
        return _split_plainly(lines, dialect.separator, first)
    return _split_quoted(lines, dialect, source, first)


def _split_plainly(lines: Iterable[str], separator: str, first: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, first):
        if text := line.rstrip("\r\n"):
            yield number, text.split(separator)


def _split_quoted(
    lines: Iterable[str], dialect: Dialect, source: Path, first: int
) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(LONGEST_FIELD)  # its own default, 131,072 characters, is shorter than texts may be
    reader = csv.reader(
        lines,
        delimiter=dialect.separator,
        escapechar=dialect.escape,
        quoting=csv.QUOTE_MINIMAL if dialect.quoting == "csv" else csv.QUOTE_NONE,
        strict=True,
    )
    begins = first
    try:
        for values in reader:
            if values:
                yield begins, values
            begins = first + reader.line_num
    except csv.Error as error:
        raise _explain(error, source, begins, first + reader.line_num - 1) from error


def is_blank(values: Sequence[str], width: int) -> bool:
    """Return whether a row of a table with several columns is a line of spaces alone.

    Args:
        values: The values of the row.
        width: Number of the table's columns.
    """
    return len(values) == 1 < width and not values[0].strip()


def _explain(error: csv.Error, source: Path, begins: int, line: int) -> DataError:
    """Return what a fault of quotes means, with the line and the remedy."""
    remedy = "Mend the line, or, if quotes are characters like any other, set data.table.quoting: none"
    if "field larger" in str(error):
        return DataError(
            f"{source}, line {begins}: a value is longer than {LONGEST_FIELD:,} characters; perhaps a quote "
            f"is not closed. {remedy}"
        )
    if "unexpected end" in str(error):
        return QuoteError(f"{source}, line {begins}: a quote is opened and never closed. {remedy}")
    return QuoteError(f"{source}, line {line}: text stands after a closing quote. {remedy}")
