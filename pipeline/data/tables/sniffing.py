"""The dialect of a table of text, found in all of its lines, or refused where two are possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data.tables.dialects import (
    NAMES,
    WHITESPACE,
    Dialect,
    QuoteError,
    is_blank,
    read_table_lines,
    split_rows,
)
from pipeline.data.tables.quotes import LEAST_EVIDENCE, Quotes, weigh_quotes
from pipeline.data.tables.rows import MOST_LISTED, explain_ragged
from pipeline.errors import DataError
from pipeline.recipe.data import Table

SEPARATORS = (",", "\t", ";", "|")
BACKSLASH = "\\"
PREFERRED = {".tsv": "\t", ".tab": "\t", ".psv": "|"}


@dataclass(frozen=True)
class Reading:
    """A dialect in which a table can be read.

    Attributes:
        dialect: The dialect.
        rows: Number of rows, the header line included.
        other: Another dialect in which the table reads as well, but otherwise; None where there is none.
        other_rows: Number of rows in that dialect.
    """

    dialect: Dialect
    rows: int
    other: Dialect | None = None
    other_rows: int = 0


@dataclass
class Plain:
    """How the lines of a table split at a separator when quotes mean nothing.

    Attributes:
        separator: The separator.
        width: Number of values of the first line.
        rows: Number of lines that are not blank.
        even: Whether all lines have as many values.
    """

    separator: str
    width: int = 0
    rows: int = 0
    even: bool = True


def find_readings(path: Path, table: Table, encoding: str) -> list[Reading]:
    """Return the ways to read a table of text that its lines allow, the likeliest first.

    Args:
        path: Path of the table.
        table: What is known of its format.
        encoding: Python's name of its encoding.

    Raises:
        DataError: There is none, or the lines cannot be read.
    """
    width = len(table.columns) if table.columns else None
    named = read_table_lines(path, encoding)[1]
    separator = table.separator if table.separator != "auto" else named
    candidates = (separator,) if separator else SEPARATORS
    if separator == WHITESPACE:
        return [Reading(Dialect(WHITESPACE, "none"), 0)]
    plain, marks = _split_plainly(read_table_lines(path, encoding)[2], candidates, width)
    if not any(each.rows for each in plain):
        raise DataError(f"{path}: the table is empty.")
    least = 1 if separator else 2
    trials = [
        [weigh_quotes(read_table_lines(path, encoding)[2], dialect, path, width) for dialect in dialects]
        for each in plain
        for dialects in [_list_dialects(each.separator, table, marks)]
    ]
    found = [_judge(each, trial, least, table) for each, trial in zip(plain, trials, strict=True)]
    readings = [reading for reading in found if reading is not None]
    if not readings:
        raise DataError(_explain(path, plain, trials, table, encoding))
    return _choose_separator(readings, path, table, encoding)


def _split_plainly(
    lines: Iterable[str], separators: tuple[str, ...], width: int | None
) -> tuple[list[Plain], set[str]]:
    """Split all lines at each separator; return the results, and which of quote and escapes are there."""
    results, marks = [Plain(separator, width or 0) for separator in separators], set()
    for line in lines:
        if not line.strip(" \r\n"):
            continue
        marks |= {mark for mark in ('"', BACKSLASH) if mark in line}
        for result in results:
            result.rows += 1
            if result.even:
                values = line.count(result.separator) + 1
                result.width = result.width or values
                result.even = values == result.width
    return results, marks


def _list_dialects(separator: str, table: Table, marks: set[str]) -> list[Dialect]:
    """Return the dialects with quotes or escapes that a table could be in."""
    if table.escape is not None:
        return [Dialect(separator, "none" if table.quoting == "none" else "csv", table.escape)]
    if table.quoting == "none":
        return []
    plain = [Dialect(separator, "csv")] if '"' in marks or table.quoting == "csv" else []
    return plain + ([Dialect(separator, "csv", BACKSLASH)] if BACKSLASH in marks else [])


def _judge(plain: Plain, trials: list[Quotes], least: int, table: Table) -> Reading | None:
    """Return how a table reads with one separator: the likelier dialect, and another that is possible."""
    good = [trial for trial in trials if trial.fault is None and trial.width >= least]
    if table.escape is not None:
        return Reading(good[0].dialect, good[0].rows) if good else None
    quoted = next((trial for trial in good if trial.dialect.escape is None), None)
    escaped = next((trial for trial in good if trial.dialect.escape is not None), None)
    if escaped is not None and (escaped.odd_escapes or not escaped.is_escaped()):
        sure = quoted is None and not (plain.even and plain.width >= least) and not escaped.odd_escapes
        escaped = escaped if sure else None
    literal = plain if plain.even and plain.width >= least and table.quoting != "csv" else None
    has_quotes = table.quoting == "none" or any(trial.dialect.escape is None for trial in trials)
    first = _judge_quotes(literal, quoted, "none" if has_quotes else "csv")
    if escaped is None or first is None:
        return first if escaped is None else Reading(escaped.dialect, escaped.rows)
    return _judge_escapes(first, quoted, escaped)


def _judge_escapes(first: Reading, quoted: Quotes | None, escaped: Quotes) -> Reading:
    """Choose between a reading in which backslashes are characters, and one in which they are escapes."""
    doubtful = quoted is None or bool(quoted.bare)
    if doubtful and escaped.escapes >= LEAST_EVIDENCE:
        return Reading(escaped.dialect, escaped.rows)
    if doubtful:
        return Reading(escaped.dialect, escaped.rows, first.dialect, first.rows)
    return Reading(first.dialect, first.rows, escaped.dialect, escaped.rows)


def _judge_quotes(
    plain: Plain | None, quoted: Quotes | None, quoting: Literal["csv", "none"]
) -> Reading | None:
    """Choose between a reading in which quotes are characters, and one in which they are quotes."""
    if plain is None:
        return Reading(quoted.dialect, quoted.rows) if quoted is not None else None
    literal = Dialect(plain.separator, quoting)
    if quoted is None or quoted.bare:
        return Reading(literal, plain.rows)
    csv = quoted.dialect
    if quoted.spread or quoted.rows != plain.rows:
        return Reading(literal, plain.rows, csv, quoted.rows)
    if quoted.is_minimal() or quoted.is_full():
        return Reading(csv, quoted.rows)
    if quoted.is_regular() and quoted.needless >= LEAST_EVIDENCE:
        return Reading(csv, quoted.rows)
    if quoted.is_regular() or quoted.needed:
        return Reading(csv, quoted.rows, literal, plain.rows)
    return Reading(literal, plain.rows, csv, quoted.rows)


def _choose_separator(readings: list[Reading], path: Path, table: Table, encoding: str) -> list[Reading]:
    """Return the readings, the likeliest separator first, and alone where something speaks for it."""
    if len(readings) > 1:
        preferred = PREFERRED.get(path.suffix.lower())
        by_suffix = [reading for reading in readings if reading.dialect.separator == preferred]
        by_label = [
            reading
            for reading in readings
            if table.columns is None and table.label in _first_values(path, reading.dialect, encoding)
        ]
        for chosen in (by_suffix, by_label):
            if len(chosen) == 1:
                readings = chosen
    return [part for reading in readings for part in _both(reading)]


def _both(reading: Reading) -> Iterator[Reading]:
    yield reading
    if reading.other is not None:
        yield Reading(reading.other, reading.other_rows, reading.dialect, reading.rows)


def _first_values(path: Path, dialect: Dialect, encoding: str) -> list[str]:
    first, _, lines = read_table_lines(path, encoding)
    return next((values for _, values in split_rows(lines, dialect, path, first)), [])


def explain_choice(path: Path, readings: list[Reading]) -> str:
    """Return the message for a table that can be read in several ways."""
    if len({reading.dialect.separator for reading in readings}) > 1:
        names = " or ".join(
            f"{NAMES.get(mark, mark)} (data.table.separator: {mark!r})"
            for mark in dict.fromkeys(reading.dialect.separator for reading in readings)
        )
        return f"{path}: more than one separator splits all lines evenly: {names}. Set the key."
    ways = "\n".join(f"  {reading.rows} rows with {reading.dialect.describe()}" for reading in readings)
    return (
        f"{path}: can be read in two ways, which give other values or other rows; the number of rows "
        f"counts the header line:\n{ways}\nLook at the values with quotes, and set the keys of one."
    )


def _explain(path: Path, plain: list[Plain], trials: list[list[Quotes]], table: Table, encoding: str) -> str:
    """Return the message for a table that cannot be read in any way."""
    if table.separator == "auto" and all(each.width < 2 for each in plain):
        return (
            f"{path}: no comma, tab, semicolon or pipe stands in its first line, so it has one column only. "
            "Set data.table.separator, which may be: whitespace"
        )
    likely = max(range(len(plain)), key=lambda index: plain[index].width)
    trial = next((trial for trial in trials[likely] if trial.is_ragged), None)
    dialect = trial.dialect if trial else Dialect(plain[likely].separator, "none")
    fault = "".join(f"\n{each.dialect.describe()}: {each.fault}" for each in trials[likely] if each.fault)
    return _list_ragged(path, dialect, table, encoding) + fault


def _list_ragged(path: Path, dialect: Dialect, table: Table, encoding: str) -> str:
    """Return the message that lists the rows with another number of values than there are columns."""
    columns, count = table.columns, 0
    ragged: list[str] = []
    first, _, lines = read_table_lines(path, encoding)
    try:
        for line, values in split_rows(lines, dialect, path, first):
            columns = columns or tuple(values)
            if len(values) != len(columns) and not is_blank(values, len(columns)):
                count += 1
                ragged += [f"line {line}: {len(values)} values"] if len(ragged) < MOST_LISTED else []
    except QuoteError as error:
        return str(error)
    return explain_ragged(path, columns or (), ragged, count)
