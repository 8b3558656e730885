"""The record of a job: what it was begun with, so that it goes on with nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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

    def to_text(self) -> str:
        """Return the outcome for people."""
        new = self.rows - self.kept
        rate = f", {new / self.seconds:,.0f} a second" if new and self.seconds > 0 else ""
        kept = f", {self.kept:,} of them before" if self.kept else ""
        errors = f"; {self.errors:,} have an error instead, in error_code and error" if self.errors else ""
        return f"{self.output}: {self.rows:,} rows{kept}{rate}{errors}"
