"""The record of the audit of the data, as the file ``data/audit.json`` holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.files.records import VersionedRecord, read_record, write_record

REMEDY = "Read the data again: graft data RUN --force"


class Audit(VersionedRecord):
    """The findings of the audit.

    Attributes:
        schema_version: The version of the file's form.
        samples: Number of samples that were kept.
        found: Number of examples of each label that came in.
        counts: Number of samples of each label in each split: by split, then by label.
        skipped_unreadable: Examples that serving would refuse: the reason, by the example's source.
        dropped_repeats: Copies of examples that were kept: the kept example's source, by the copy's source.
        repeats_left_train: Number of copies that the data had in the training split, and whose kept example
            they have in another.
        skipped_conflicts: Groups of equal examples under different labels: in each, the label by the source.
        remarks: What is odd about a sample that was kept, by its source.
        warnings: Whole sentences about all samples together.
        understood: How the data were read and divided, and what was left out, one sentence each.
    """

    schema_version: Literal[2] = 2  # type: ignore[assignment] # the next form of the same file
    samples: int
    found: dict[str, int]
    counts: dict[str, dict[str, int]]
    skipped_unreadable: dict[str, str]
    dropped_repeats: dict[str, str]
    repeats_left_train: int
    skipped_conflicts: tuple[dict[str, str], ...]
    remarks: dict[str, str]
    warnings: tuple[str, ...]
    understood: tuple[str, ...] = ()


def write_audit(path: Path, audit: Audit) -> None:
    """Write what the audit found."""
    write_record(path, audit)


def read_audit(path: Path) -> Audit:
    """Read what the audit found.

    Raises:
        GraftError: The file does not hold it; the message names the remedy.
    """
    return read_record(path, Audit, REMEDY)
