"""What the audit of the data found, as the file ``data/audit.json`` holds it."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.records import VersionedRecord, read_record, write_record

REMEDY = "Read the data again: graft data RUN --force"


class Audit(VersionedRecord):
    """What the audit kept and left out.

    Attributes:
        samples: Number of samples that were kept.
        counts: How many of them each split has of each label: split, then label.
        skipped_unreadable: The source of each example that serving would refuse, with the reason.
        dropped_repeats: The source of each copy of an example that is kept, with that one's source.
        skipped_conflicts: Groups of equal examples under different labels: each source with its label.
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
    """Read what the audit found; raises GraftError, with the remedy, for a file that does not hold it."""
    return read_record(path, Audit, REMEDY)
