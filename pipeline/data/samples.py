"""The table of samples, as later stages and other programs read it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import atomic
from pipeline.data.split import Split
from pipeline.errors import DataError
from pipeline.layout import RunFolder


@dataclass(frozen=True)
class Sample:
    """One labelled file in one split; ``sha256`` is the hash, in hex, of the file's content when it was audited."""

    source: Path
    label: str
    split: Split
    sha256: str

    def read(self) -> bytes:
        """The file's bytes; refuses a file that changed since the audit."""
        try:
            content = self.source.read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.source}: cannot be read any more ({error.strerror}). Put it back, or redo: graft data RUN --force"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataError(f"{self.source}: changed since it was audited. Run again from the start: graft run RECIPE")
        return content


def write_samples(run: RunFolder, samples: Sequence[Sample]) -> None:
    """Write the samples and their contents' hashes."""
    _write_csv(run.contents, ("source", "sha256"), ((str(s.source), s.sha256) for s in samples))
    _write_csv(run.samples, ("source", "label", "split"), ((str(s.source), s.label, s.split) for s in samples))


def read_samples(run: RunFolder) -> list[Sample]:
    """Read them back, in the order in which they were written."""
    hashes = {row["source"]: row["sha256"] for row in _read_csv(run.contents)}
    return [Sample(Path(row["source"]), row["label"], row["split"], hashes[row["source"]]) for row in _read_csv(run.samples)]  # type: ignore[arg-type]


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """The class names in their order: alphabetical."""
    return tuple(sorted({sample.label for sample in samples}))


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256, in hex, of contents, labels and splits: what training depends on, wherever the files lie."""
    lines = "".join(f"{s.sha256}\t{s.label}\t{s.split}\n" for s in samples)
    return hashlib.sha256(lines.encode()).hexdigest()


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic.write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))
