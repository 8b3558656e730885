"""The tables that jobs write: fragment by fragment, and put together into one file at the end."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pipeline.errors import GraftError
from pipeline.jobs.answers import Answered
from pipeline.jobs.rows import Fragment, Source
from serving.model.decision import most_probable
from serving.model.schemas import ErrorDetail

PREDICTED = ("label", "probability", "probabilities", "truncation", "error_code", "error")
PREFIX = "predicted_"
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=str)


class Format(Protocol):
    """A storage of the output."""

    def encode(self, fragment: Fragment, answers: Sequence[Answered]) -> bytes:
        """Return the content of a fragment's file."""

    def assemble(self, fragments: Iterable[Path], output: IO[bytes]) -> None:
        """Write all fragments, in their order, as one table."""


@dataclass(frozen=True)
class Columns:
    """The columns of an output.

    Attributes:
        repeated: Positions of the input's columns that are repeated.
        names: Names of these, and behind them of the predicted ones.
        labels: Names of the classes.
    """

    repeated: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]

    def values(self, answered: Answered) -> list[object]:
        """Return the values of a row, in the order of the names."""
        row = [_storable(answered.row.values[index]) for index in self.repeated]
        return [*row, *self.predicted(answered)]

    def predicted(self, answered: Answered) -> list[object]:
        """Return the values of the predicted columns of a row."""
        answer = answered.answer
        if isinstance(answer, ErrorDetail):
            return [None, None, None, None, answer.code, answer.message]
        probabilities = answer.probabilities.tolist()
        best = int(most_probable(answer.probabilities))
        by_label = dict(zip(self.labels, probabilities, strict=True))
        cut = answer.truncation and answer.truncation.to_json()
        return [self.labels[best], probabilities[best], by_label, cut, None, None]


def name_columns(source: Source, labels: Sequence[str]) -> Columns:
    """Return the columns of an output: the input's, and the predicted ones, by other names if need be.

    Args:
        source: The input.
        labels: Names of the classes.

    Raises:
        GraftError: The input has columns of both names.
    """
    predicted: tuple[str, ...] = PREDICTED
    if set(source.shown) & set(predicted):
        predicted = tuple(f"{PREFIX}{name}" for name in PREDICTED)
    taken = sorted(set(source.shown) & set(predicted))
    if taken:
        raise GraftError(f"{source.path}: has a column {taken[0]!r}, which the output needs. Rename it.")
    repeated = tuple(source.columns.index(name) for name in source.shown)
    return Columns(repeated, (*source.shown, *predicted), tuple(labels))


def _storable(value: object) -> object:
    """Return a value that every storage takes: text that is Unicode."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line, as the service answers."""

    columns: Columns

    def encode(self, _: Fragment, answers: Sequence[Answered]) -> bytes:
        """Return a line a row."""
        names = self.columns.names
        return "".join(self._line(names, self.columns.values(each)) for each in answers).encode()

    @staticmethod
    def _line(names: Sequence[str], values: Sequence[object]) -> str:
        # Predicted columns that say nothing are left out, as the service leaves them out.
        repeated = len(names) - len(PREDICTED)
        document = {
            name: value
            for index, (name, value) in enumerate(zip(names, values, strict=True))
            if index < repeated or value is not None
        }
        return to_json(document) + "\n"

    def assemble(self, fragments: Iterable[Path], output: IO[bytes]) -> None:
        """Write the lines of all fragments."""
        for path in fragments:
            with path.open("rb") as file:
                shutil.copyfileobj(file, output)


@dataclass(frozen=True)
class Delimited:
    """Delimited text with a header, in which probabilities are JSON."""

    columns: Columns
    separator: str

    def encode(self, _: Fragment, answers: Sequence[Answered]) -> bytes:
        """Return the rows without the header."""
        return self._write([self._cells(each) for each in answers])

    def _cells(self, answered: Answered) -> list[str]:
        return [_to_text(value) for value in self.columns.values(answered)]

    def _write(self, rows: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO()
        usual = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        # A carriage return ends a line for those who read it, and Python 3.11 does not quote one by itself.
        quoting = csv.writer(text, delimiter=self.separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            (quoting if any("\r" in cell for cell in row) else usual).writerow(row)
        return text.getvalue().encode()

    def assemble(self, fragments: Iterable[Path], output: IO[bytes]) -> None:
        """Write the header, and the rows of all fragments."""
        output.write(self._write([self.columns.names]))
        for path in fragments:
            with path.open("rb") as file:
                shutil.copyfileobj(file, output)


def _to_text(value: object) -> str:
    """Return a value as text: what JSON has no text for, as JSON."""
    if value is None:
        return ""
    return to_json(value) if isinstance(value, dict | list | bool) else str(value)


def to_json(value: object) -> str:
    """Return a value as JSON; numbers that are none, wherever they stand in it, are null.

    Args:
        value: What Parquet or JSON held.
    """
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_finite(value))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
