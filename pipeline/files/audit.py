"""The record of the audit of the data, as the file ``data/audit.json`` holds it."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.records import VersionedRecord, read_record, write_record

REMEDY = "Read the data again: graft data RUN --force"


class Audit(VersionedRecord):
    """The findings of the audit.

    Attributes:
        samples: Number of samples that were kept.
        counts: Number of samples of each label in each split: by split, then by label.
        skipped_unreadable: Examples that serving would refuse: the reason, by the example's source.
        dropped_repeats: Copies of examples that were kept: the kept example's source, by the copy's source.
        skipped_conflicts: Groups of equal examples under different labels: in each, the label by the source.
    """

    samples: int
    counts: dict[str, dict[str, int]]
    skipped_unreadable: dict[str, str]
    dropped_repeats: dict[str, str]
    skipped_conflicts: tuple[dict[str, str], ...]


def write_audit(path: Path, audit: Audit) -> None:
    """Write what the audit found."""
    write_record(path, audit)


def read_audit(path: Path) -> Audit:
    """Read what the audit found.

    Raises:
        GraftError: The file does not hold it; the message names the remedy.
    """
    return read_record(path, Audit, REMEDY)
