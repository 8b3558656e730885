"""The record of a job: what it was begun with, so that it goes on with nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.files.records import VersionedRecord


class JobRecord(VersionedRecord):
    """What the answers of a job depend on.

    Attributes:
        input: Path of the table or folder.
        identity: What tells that input from a changed one.
        column: Name of the column that is predicted.
        model: Name and version of the model, and the SHA-256 of the artifact that answers.
        output: Name of the output, whose ending says how it is stored.
        rows: Rows of a fragment.
    """

    schema_version: Literal[2] = 2  # type: ignore[assignment] # answers that are kept have another column
    input: str
    identity: str
    column: str
    model: str
    output: str
    rows: int


@dataclass(frozen=True)
class JobResult:
    """The outcome of a job.

    Attributes:
        output: The table that was written.
        rows: Number of its rows.
        errors: Number of rows that have an error instead of a prediction.
        kept: Number of rows that were answered before this call.
        seconds: Seconds that this call took to read, answer and write the others.
    """

    output: Path
    rows: int
    errors: int
    kept: int
    seconds: float

    @property
    def is_in_vain(self) -> bool:
        """Whether there are rows, and none has an answer, as where the wrong column was named."""
        return 0 < self.rows == self.errors

    def to_text(self) -> str:
        """Return the outcome for people."""
        new = self.rows - self.kept
        rate = f", {new / self.seconds:,.0f} a second" if new and self.seconds > 0 else ""
        kept = f", {self.kept:,} of them before" if self.kept else ""
        errors = f"; {self.errors:,} with an error instead" if self.errors else ""
        if self.is_in_vain:
            errors = "; none has an answer, and each says why"
        return f"{self.output}: {self.rows:,} row{'' if self.rows == 1 else 's'}{kept}{rate}{errors}"
