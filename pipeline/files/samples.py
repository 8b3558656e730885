"""The table of samples, which later stages and other programs read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.files.layout import RunFolder
from pipeline.files.places import Place, read_place
from pipeline.files.tables import LONGEST_FIELD as LONGEST_FIELD  # noqa: PLC0414 - for the readers of tables
from pipeline.files.tables import read_table, write_table

Split = Literal["train", "validation", "test", "calibration"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "calibration")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled example in one split.

    Attributes:
        source: Where the sample comes from, relative to the data's root: the path of its file, or the path of
            its table with the line or row.
        label: Name of its class.
        split: Name of its split.
        sha256: SHA-256, in hexadecimal, of its bytes when it was audited.
        text: The text itself, if the sample is a text of a table; otherwise None.
        place: Where the run's samples are read. None, the default, for a sample that is of no run's table;
            its source then is a path.
        probabilities: The probability of each class, in the order of :func:`labels_of`, where the data have
            them; None, the default, otherwise.
        weight: How much the sample counts in training, 0 or more; None, the default, where the data do not
            say.
    """

    source: str
    label: str
    split: Split
    sha256: str
    text: str | None = None
    place: Place | None = field(default=None, compare=False, repr=False)
    probabilities: tuple[float, ...] | None = None
    weight: float | None = None

    def read(self) -> bytes:
        """Return the sample's bytes.

        Raises:
            DataError: Its file cannot be read any more, or has changed since the audit.
        """
        content = self._read_content() if self.text is None else self.text.encode()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataError(
                f"{self.source}: changed since it was audited. Run again from the start: graft run RECIPE"
            )
        return content

    def _read_content(self) -> bytes:
        if self.place is not None:
            return self.place.read(self.source, self.sha256)
        try:
            return Path(self.source).read_bytes()
        except OSError as error:
            raise DataError(f"{self.source}: cannot be read ({error.strerror}). Put it back.") from error


def write_samples(run: RunFolder, samples: Sequence[Sample]) -> None:
    """Write the samples, the hashes of their contents, and the texts of a table.

    The texts are kept here, since no later stage reads the table that they came from. Probabilities and
    weights stand in further columns, such as ``p(defective)`` and ``weight``, where the samples have them.
    """
    header = (
        ("source", "sha256", "text")
        if any(sample.text is not None for sample in samples)
        else ("source", "sha256")
    )
    write_table(
        run.contents, header, lambda: ((s.source, s.sha256, s.text or "")[: len(header)] for s in samples)
    )
    soft = any(sample.probabilities is not None for sample in samples)
    weighted = any(sample.weight is not None for sample in samples)
    names = [f"p({label})" for label in labels_of(samples)] if soft else []
    write_table(
        run.samples,
        ("source", "label", "split", *names, *(["weight"] if weighted else [])),
        lambda: ((s.source, s.label, s.split, *_numbers(s)) for s in samples),
    )


def _numbers(sample: Sample) -> list[str]:
    """Return a sample's probabilities and its weight as they stand in its row; nothing where it has none."""
    weight = [] if sample.weight is None else [sample.weight]
    return [repr(number) for number in (*(sample.probabilities or ()), *weight)]


def read_samples(run: RunFolder) -> list[Sample]:
    """Read the samples of a run, in the order in which they were written.

    They know where their contents are read: in the folder that the run names as the root of its data, which
    need not exist until one of them is read.

    Raises:
        DataError: The two tables of the run are not of the same samples.
    """
    place, contents = read_place(run), read_table(run.contents)
    samples = []
    for row in read_table(run.samples):
        content = next(contents, {})
        if content.get("source") != row["source"]:
            raise _not_of_one(run)
        split = cast("Split", row["split"])
        sha256, text = content["sha256"], content.get("text")
        shares = tuple(float(row[name]) for name in row if name.startswith("p(")) or None
        weight = float(row["weight"]) if "weight" in row else None
        samples.append(Sample(row["source"], row["label"], split, sha256, text, place, shares, weight))
    if next(contents, None) is not None:
        raise _not_of_one(run)
    return samples


def _not_of_one(run: RunFolder) -> DataError:
    return DataError(
        f"{run.samples} and {run.contents} are not of the same samples. "
        f"Make both anew: graft data {run.root} --force"
    )


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the names of the classes of some samples, in alphabetical order."""
    return tuple(sorted({sample.label for sample in samples}))


def digest(samples: Iterable[Sample]) -> str:
    """Return the SHA-256, in hexadecimal, of all that samples have but their sources.

    Training depends on these alone, wherever the files lie.
    """
    hashed = hashlib.sha256()
    for s in samples:
        line = "\t".join([s.sha256, s.label, s.split, *_numbers(s)])
        hashed.update(f"{line}\n".encode(errors="surrogateescape"))
    return hashed.hexdigest()


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return indices that are evenly spread over a number of samples.

    Args:
        count: Number of samples.
        most: The most indices to return.

    Returns:
        Rising indices in [0, count), int64 of shape (min(most, count),).
    """
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)
