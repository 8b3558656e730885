"""The table of samples, which later stages and other programs read."""

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
        source: Path of the sample's file, or path of its table with the line.
        label: Name of its class.
        split: Name of its split.
        sha256: SHA-256, in hexadecimal, of its bytes when it was audited.
        text: The text itself, if the sample is a text of a table; otherwise None.
    """

    source: str
    label: str
    split: Split
    sha256: str
    text: str | None = None

    def read(self) -> bytes:
        """Return the sample's bytes.

        Raises:
            DataError: Its file cannot be read any more, or has changed since the audit.
        """
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
    """Write the samples, the hashes of their contents, and the texts of a table.

    The texts are kept here, since no later stage reads the table that they came from.
    """
    header = (
        ("source", "sha256", "text")
        if any(sample.text is not None for sample in samples)
        else ("source", "sha256")
    )
    _write_csv(run.contents, header, ((s.source, s.sha256, s.text or "")[: len(header)] for s in samples))
    _write_csv(run.samples, ("source", "label", "split"), ((s.source, s.label, s.split) for s in samples))


def read_samples(run: RunFolder) -> list[Sample]:
    """Read the samples of a run, in the order in which they were written."""
    contents = {row["source"]: row for row in _read_csv(run.contents)}
    samples = []
    for row in _read_csv(run.samples):
        content = contents[row["source"]]
        split = cast("Split", row["split"])
        samples.append(Sample(row["source"], row["label"], split, content["sha256"], content.get("text")))
    return samples


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes of some samples, in alphabetical order."""
    return tuple(sorted({sample.label for sample in samples}))


def digest(samples: Iterable[Sample]) -> str:
    """Return the SHA-256, in hexadecimal, of the contents, labels and splits of samples.

    Training depends on these alone, wherever the files lie.
    """
    lines = "".join(f"{s.sha256}\t{s.label}\t{s.split}\n" for s in samples)
    return hashlib.sha256(lines.encode()).hexdigest()


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return indices that are evenly spread over a number of samples.

    Args:
        count: Number of samples.
        most: The most indices to return.

    Returns:
        Rising indices in [0, count), int64 of shape (min(most, count),).
    """
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    text, plain = io.StringIO(newline=""), list(rows)
    # The writer does not by itself quote a lone carriage return, at which the reader would end the line.
    special = any("\r" in value for row in plain for value in row)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if special else csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(plain)
    atomic.write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))
