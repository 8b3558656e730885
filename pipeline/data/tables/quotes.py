"""The quotes and backslashes of a table, weighed: those of a program that writes CSV, or those of texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline.data.tables.dialects import Dialect, QuoteError, is_blank, split_rows

LEAST_EVIDENCE = 8
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|-?inf|nan", re.ASCII)


@dataclass
class Quotes:
    """How a table reads in one dialect, and what its quotes look like.

    Attributes:
        dialect: The dialect.
        width: Number of values of the first row.
        rows: Number of rows, the header line included.
        fault: Why the table cannot be in this dialect; None where it can.
        is_ragged: Whether the fault is a row with another number of values.
        bare: Number of values with a quote inside that are not quoted and that no such writer leaves so.
        needed: Number of quoted values that hold a separator, a line end or a quote.
        needless: Number of other quoted values.
        needless_with_space: Number of those that hold white space.
        spaced: Number of unquoted values that hold white space.
        empty: Number of empty values without quotes.
        spread: Number of rows of several lines.
        escapes: Number of escape characters.
        odd_escapes: Number of those before a character that needs none.
        header: For each column whether its first value is quoted.
        plain: For each column whether a later value that is neither empty nor a number is unquoted.
        quoted: For each column whether a later value is quoted.
    """

    dialect: Dialect
    width: int = 0
    rows: int = 0
    fault: str | None = None
    is_ragged: bool = False
    bare: int = 0
    needed: int = 0
    needless: int = 0
    needless_with_space: int = 0
    spaced: int = 0
    empty: int = 0
    spread: int = 0
    escapes: int = 0
    odd_escapes: int = 0
    header: list[bool] = field(default_factory=list)
    plain: list[bool] = field(default_factory=list)
    quoted: list[bool] = field(default_factory=list)

    def is_minimal(self) -> bool:
        """Return whether exactly the values that need quotes are quoted."""
        return not self.bare and not self.needless

    def is_full(self) -> bool:
        """Return whether all values are quoted, but for numbers and, in longer tables, empty ones."""
        enough = not self.empty or self.needed + self.needless >= LEAST_EVIDENCE
        return enough and not self.bare and all(self.header) and not any(self.plain)

    def is_regular(self) -> bool:
        """Return whether whole columns are quoted, or all values with white space, and often enough."""
        columns = not any(plain and quoted for plain, quoted in zip(self.plain, self.quoted, strict=True))
        spaces = not self.spaced and self.needless == self.needless_with_space
        return not self.bare and (columns or spaces)

    def is_escaped(self) -> bool:
        """Return whether all escape characters stand before what needs them, and no quote is bare."""
        return bool(self.escapes) and not self.odd_escapes and not self.bare


def weigh_quotes(lines: Iterable[str], dialect: Dialect, source: Path, width: int | None) -> Quotes:
    """Read a table in a dialect as far as it fits, and weigh its quotes.

    Args:
        lines: The lines of the table, with their ends.
        dialect: The dialect to try.
        source: Path of the table, for the faults.
        width: Number of values that each row must have; None for as many as the first has.
    """
    quotes = Quotes(dialect, width or 0)
    consumed: list[str] = []
    try:
        for number, values in split_rows(_remember(lines, consumed), dialect, source):
            width = quotes.width = quotes.width or len(values)
            if is_blank(values, width):
                consumed.clear()
                continue
            if len(values) != width:
                quotes.fault = f"line {number}: {len(values)} values, but {width} columns"
                quotes.is_ragged = True
                break
            _weigh_row("".join(consumed).lstrip("\r\n"), quotes)
            consumed.clear()
    except QuoteError as error:
        quotes.fault = str(error).removeprefix(f"{source}, ").partition(". ")[0]
    return quotes


def _remember(lines: Iterable[str], consumed: list[str]) -> Iterator[str]:
    for line in lines:
        consumed.append(line)
        yield line


def _weigh_row(record: str, quotes: Quotes) -> None:
    """Add the fields of a row, which are given as the file has them, to the weights."""
    dialect, escape = quotes.dialect, quotes.dialect.escape
    quotes.rows += 1
    if '"' not in record and not (escape and escape in record):
        fields = record.rstrip("\r\n").split(dialect.separator)
        if quotes.rows > 1 and all(quotes.plain) and quotes.spaced and quotes.empty:
            return  # nothing that is not known already
    else:
        fields = _split_raw(record, dialect)
        quotes.spread += "\n" in record.rstrip("\r\n") or "\r" in record.rstrip("\r\n")
        if escape:
            _weigh_escapes(record, quotes)
    if quotes.rows == 1:
        quotes.header = [_is_quoted(text) or _is_bland(text) for text in fields]
        quotes.plain, quotes.quoted = [False] * len(fields), [False] * len(fields)
    for column, text in enumerate(fields):
        _weigh_field(text, column, quotes)


def _weigh_field(text: str, column: int, quotes: Quotes) -> None:
    if _is_quoted(text):
        if quotes.rows > 1:
            quotes.quoted[column] = True
        inner = text[1:-1]
        if any(mark in inner for mark in ('"', "\r", "\n", quotes.dialect.separator)):
            quotes.needed += 1
        else:
            quotes.needless += 1
            quotes.needless_with_space += any(character.isspace() for character in inner)
        return
    escape = quotes.dialect.escape
    quotes.bare += '"' in (re.sub(re.escape(escape) + ".", "", text, flags=re.DOTALL) if escape else text)
    quotes.empty += not text
    quotes.spaced += any(character.isspace() for character in text)
    if quotes.rows > 1 and not quotes.plain[column]:
        quotes.plain[column] = not _is_bland(text)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _is_bland(text: str) -> bool:
    """Return whether a value is empty or a number, which some writers leave without quotes."""
    return not text or NUMBER.fullmatch(text) is not None


def _weigh_escapes(record: str, quotes: Quotes) -> None:
    escape = quotes.dialect.escape or ""
    special = {'"', escape, quotes.dialect.separator, "\r", "\n"}
    for found in re.finditer(re.escape(escape) + "(.?)", record, flags=re.DOTALL):
        quotes.escapes += 1
        quotes.odd_escapes += found[1] not in special


def _split_raw(record: str, dialect: Dialect) -> list[str]:
    """Return the fields of a row as the file has them, quotes and escape characters included."""
    pattern, end = _field_pattern(dialect), 0
    text = _without_end(record, dialect)
    fields = []
    while end <= len(text):
        found = pattern.match(text, end)
        if found is None:  # cannot be: the pattern matches an empty field too
            break
        fields.append(found[0])
        end = found.end() + 1
    return fields


def _without_end(record: str, dialect: Dialect) -> str:
    """Return a row without the end of its line, which is not part of its last field."""
    text = record[:-2] if record.endswith("\r\n") else record[:-1] if record[-1:] in {"\r", "\n"} else record
    unfinished = dialect.escape is not None and record.endswith("\r\n") and text.endswith(dialect.escape)
    return record[:-1] if unfinished else text


@cache
def _field_pattern(dialect: Dialect) -> re.Pattern[str]:
    separator, escape = re.escape(dialect.separator), re.escape(dialect.escape or "")
    escaped = f"{escape}.|" if escape else ""
    quoted = f'"(?:{escaped}""|[^"{escape}])*"(?={separator}|$)'
    return re.compile(f"(?:{quoted}|(?:{escaped}[^{separator}{escape}])*)", re.DOTALL)
