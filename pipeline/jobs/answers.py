"""The core of a job: the rows of one fragment in, their answers out; the same rows give the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.jobs.rows import Fragment, Row, Source
from serving.model.inputs.kind import FileBody
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, ErrorDetail

GROUP = 64  # inputs that are held and run together, as elsewhere
BAD_ROW, NO_VALUE, UNREADABLE = "bad_row", "missing_value", "unreadable_file"


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with its answer.

    Attributes:
        row: The row.
        answer: The probabilities, float32 of shape (labels,), or the error that it has instead.
    """

    row: Row
    answer: NDArray[np.float32] | ErrorDetail


@dataclass(frozen=True)
class Core:
    """What answers fragments, which several threads may do at one time.

    Attributes:
        source: The input.
        column: Position of the column that is predicted.
        predictor: The model.
    """

    source: Source
    column: int
    predictor: Predictor

    def answer(self, fragment: Fragment) -> list[Answered]:
        """Answer the rows of a fragment, in order; a bad row gets an error and fails no other.

        Args:
            fragment: The fragment.

        Raises:
            OSError: The input itself cannot be read any more.
        """
        rows = self.source.read(fragment)
        answers: list[Answered] = []
        for start in range(0, len(rows), GROUP):
            group = rows[start : start + GROUP]
            contents = [self._read(row) for row in group]
            found = iter(self.predictor.score_many([each for each in contents if isinstance(each, bytes)]))
            answers += [
                Answered(row, _unwrap(next(found)) if isinstance(content, bytes) else content)
                for row, content in zip(group, contents, strict=True)
            ]
        return answers

    def _read(self, row: Row) -> bytes | ErrorDetail:
        """Return the bytes of a row's input, or the error that it has instead."""
        if row.fault is not None:
            return ErrorDetail(code=BAD_ROW, message=f"The row {row.fault}.")
        value = row.values[self.column]
        if isinstance(value, Mapping):  # as Hugging Face keeps files
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            return ErrorDetail(code=NO_VALUE, message="The row has no value in the column that is predicted.")
        if isinstance(value, bytes):
            return value
        text = value if isinstance(value, str) else str(value)
        if self.source.holds_paths or isinstance(self.predictor.kind.body, FileBody):
            return _read_file(self.source.base / text)
        return text.encode(errors="surrogateescape")


def _read_file(path: Path) -> bytes | ErrorDetail:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return ErrorDetail(code=UNREADABLE, message=f"The file cannot be read: {reason}.")


def _unwrap(answer: NDArray[np.float32] | ErrorBody) -> NDArray[np.float32] | ErrorDetail:
    return answer.error if isinstance(answer, ErrorBody) else answer
