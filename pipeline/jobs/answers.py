"""The core of a job: the rows of one fragment in, their answers out; the same rows give the same answers."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row, Source
from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import FileBody, JsonBody
from serving.model.predictor import Predictor, Scored
from serving.model.schemas import ErrorBody, ErrorDetail

GROUP = 64  # inputs that are held at one time, and run together where that is faster, as elsewhere
HELD_BYTES = 8 * 1024 * 1024  # of them, with the last one
MOST_BYTES = 256 * 1024 * 1024
CHANGED = "the input has changed since the job was begun. Begin anew: --force"
BAD_ROW, NO_VALUE, BAD_VALUE, UNREADABLE = "bad_row", "missing_value", "bad_value", "unreadable_file"


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with its answer.

    Attributes:
        row: The row.
        answer: The probabilities and what was cut off, or the error that it has instead.
    """

    row: Row
    answer: Scored | ErrorDetail


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
        if len(rows) != fragment.rows:
            raise GraftError(f"{self.source.path}: {CHANGED}")
        answers: list[Answered] = []
        for group in self._groups(rows):
            inputs = [content for _, content in group if isinstance(content, bytes)]
            found = iter(self.predictor.score_many(inputs))
            answers += [
                Answered(row, _unwrap(next(found)) if isinstance(content, bytes) else content)
                for row, content in group
            ]
        return answers

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[tuple[Row, bytes | ErrorDetail]]]:
        """Yield rows with their inputs, as many at once as may be held.

        Decoding many and then running the network on each is a tenth faster than doing both for one after the
        other, also where each has a run of its own.
        """
        group: list[tuple[Row, bytes | ErrorDetail]] = []
        held = 0
        for row in rows:
            content = self._read(row)
            group.append((row, content))
            held += len(content) if isinstance(content, bytes) else 0
            if len(group) == GROUP or held >= HELD_BYTES:
                yield group
                group, held = [], 0
        if group:
            yield group

    def _read(self, row: Row) -> bytes | ErrorDetail:
        """Return the bytes of a row's input, or the error that it has instead."""
        if row.fault is not None:
            return ErrorDetail(code=BAD_ROW, message=f"The row {row.fault}.")
        value, body = row.values[self.column], self.predictor.kind.body
        is_file = self.source.holds_paths or isinstance(body, FileBody)
        if is_file and isinstance(value, Mapping):  # as Hugging Face keeps files
            value = value.get("bytes") or value.get("path")
        if value is None or value == "":
            return ErrorDetail(code=NO_VALUE, message="The row has no value in the column that is predicted.")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return _read_file(self.source.base / value) if is_file else _to_bytes(value)
        if is_file or isinstance(body, FileBody):
            return ErrorDetail(
                code=BAD_VALUE, message="The value is neither the bytes of a file nor its path."
            )
        return _encode(value, self.source.columns[self.column], body)


def _to_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _encode(value: object, column: str, body: JsonBody) -> bytes | ErrorDetail:
    """Return a value that is no text as the service takes it: one of JSON as its kind does.

    Numbers, dates and truth values are texts where the model takes texts, as they are in CSV and in training.
    """
    if body.accepts_plain_text and not isinstance(value, Mapping | list | tuple):
        is_named = isinstance(value, bool)
        text = value.isoformat() if isinstance(value, date | time) else str(value)
        return _to_bytes(text.lower() if is_named else text)
    try:
        return body.encode(value, column)
    except InputRefusedError as refusal:
        return ErrorDetail(code=refusal.code, message=refusal.message)


def _read_file(path: Path) -> bytes | ErrorDetail:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return ErrorDetail(code=UNREADABLE, message="The path is of no regular file.")
        if state.st_size > MOST_BYTES:
            return ErrorDetail(code=UNREADABLE, message=f"The file has more than {MOST_BYTES} bytes.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return ErrorDetail(code=UNREADABLE, message=f"The file cannot be read: {reason}.")


def _unwrap(answer: Scored | ErrorBody) -> Scored | ErrorDetail:
    return answer.error if isinstance(answer, ErrorBody) else answer
