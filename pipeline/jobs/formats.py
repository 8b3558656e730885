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
from pipeline.jobs.rows import Source
from serving.model.decision import most_probable
from serving.model.schemas import ErrorDetail

PREDICTED = ("label", "probability", "probabilities", "error_code", "error")
PREFIX = "predicted_"
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class Format(Protocol):
    """A storage of the output."""

    def encode(self, answers: Sequence[Answered]) -> bytes:
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
        if isinstance(answered.answer, ErrorDetail):
            return [*row, None, None, None, answered.answer.code, answered.answer.message]
        probabilities = answered.answer.tolist()
        best = int(most_probable(answered.answer))
        by_label = dict(zip(self.labels, probabilities, strict=True))
        return [*row, self.labels[best], probabilities[best], by_label, None, None]


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
    """Return a value that every storage takes: text that is Unicode, and no number that is none."""
    if isinstance(value, str):
        return (
            value
            if value.isascii()
            else value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        )
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line, as the service answers."""

    columns: Columns

    def encode(self, answers: Sequence[Answered]) -> bytes:
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
        return _ENCODER.encode(document) + "\n"

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

    def encode(self, answers: Sequence[Answered]) -> bytes:
        """Return the rows without the header."""
        return self._write([self._cells(each) for each in answers])

    def _cells(self, answered: Answered) -> list[str]:
        return [_to_text(value) for value in self.columns.values(answered)]

    def _write(self, rows: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self.separator, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()

    def assemble(self, fragments: Iterable[Path], output: IO[bytes]) -> None:
        """Write the header, and the rows of all fragments."""
        output.write(self._write([self.columns.names]))
        for path in fragments:
            with path.open("rb") as file:
                shutil.copyfileobj(file, output)


def _to_text(value: object) -> str:
    if value is None:
        return ""
    return (
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
    )
