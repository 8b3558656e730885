"""The sheet of augmented samples, as the file ``checkpoint/augmented.json`` holds it."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.records import Record, VersionedRecord, read_record

AUGMENTED_FILE = "augmented.json"
REMEDY = "Train again: graft finetune RUN --force"


class Seen(Record):
    """A sample as people see it: one of the two is given.

    Attributes:
        picture: A JPEG as a data URI.
        text: A text.
    """

    picture: str | None = None
    text: str | None = None


class AugmentedSample(Record):
    """A training sample, and what random changes made of it.

    Attributes:
        label: The sample's label.
        original: The sample without a change.
        variants: The sample with changes, as the training sees it, each drawn for itself.
    """

    label: str
    original: Seen
    variants: tuple[Seen, ...]


class Sheet(VersionedRecord):
    """Some training samples with their random changes.

    Attributes:
        samples: The samples, of as many classes as there is room for.
    """

    samples: tuple[AugmentedSample, ...]

    def to_bytes(self) -> bytes:
        """Return the content of the file, as JSON."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def read_sheet(checkpoint: Path) -> Sheet | None:
    """Read the sheet of a run; None where nothing was changed by chance.

    Args:
        checkpoint: The checkpoint's folder.

    Raises:
        GraftError: The file is damaged; the message names the remedy.
    """
    path = checkpoint / AUGMENTED_FILE
    return read_record(path, Sheet, REMEDY) if path.is_file() else None
