"""The table of samples, as later stages and other programs read it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder

LONGEST_FIELD = 10_000_000
Split = Literal["train", "validation", "test", "calibration"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "calibration")


@dataclass(frozen=True)
class Sample:
    """One labelled example in one split.

    Attributes:
        source: A file's path, or a table's path and line.
        label: Its label.
        split: Its split.
        sha256: Hash, in hex, of its bytes when it was audited.
        text: The text itself, of a table of texts.
    """

    source: str
    label: str
    split: Split
    sha256: str
    text: str | None = None

    def read(self) -> bytes:
        """Its bytes; refuses a file that changed since the audit."""
        content = self._read_file() if self.text is None else self.text.encode()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataError(
                f"{self.source}: changed since it was audited. Run again from the start: graft run RECIPE"
            )
        return content

    def _read_file(self) -> bytes:
        try:
            return Path(self.source).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.source}: cannot be read any more ({error.strerror}). Put it back, or redo: "
                "graft data RUN --force"
            ) from error


def write_samples(run: RunFolder, samples: Sequence[Sample]) -> None:
    """Write the samples, the hashes of their contents, and the texts, whose table no later stage reads."""
    header = (
        ("source", "sha256", "text")
        if any(sample.text is not None for sample in samples)
        else ("source", "sha256")
    )
    _write_csv(run.contents, header, ((s.source, s.sha256, s.text or "")[: len(header)] for s in samples))
    _write_csv(run.samples, ("source", "label", "split"), ((s.source, s.label, s.split) for s in samples))


def read_samples(run: RunFolder) -> list[Sample]:
    """Read them back, in the order in which they were written."""
    contents = {row["source"]: row for row in _read_csv(run.contents)}
    found = []
    for row in _read_csv(run.samples):
        content = contents[row["source"]]
        split = cast("Split", row["split"])
        found.append(Sample(row["source"], row["label"], split, content["sha256"], content.get("text")))
    return found


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """The class names in their order: alphabetical."""
    return tuple(sorted({sample.label for sample in samples}))


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256, in hex, of contents, labels and splits: what training depends on, wherever the files lie."""
    lines = "".join(f"{s.sha256}\t{s.label}\t{s.split}\n" for s in samples)
    return hashlib.sha256(lines.encode()).hexdigest()


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Indices of at most so many of ``count`` samples, evenly spread over them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    text, plain = io.StringIO(newline=""), list(rows)
    # The writer itself does not quote a lone carriage return, at which the reader would end the line.
    special = any("\r" in value for row in plain for value in row)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if special else csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(plain)
    atomic.write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))
