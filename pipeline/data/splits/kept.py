"""The splits of an earlier run, which its samples keep."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DataError
from pipeline.files.samples import LONGEST_FIELD, SPLITS, Split
from pipeline.reporting.printable import printable

KEY = "data.splits.keep"


def read_kept(path: Path) -> dict[str, Split]:
    """Return the split of each sample of an earlier run, by the SHA-256 of its content, in hexadecimal.

    Args:
        path: The run's table ``data/samples.csv``, beside which its ``contents.csv`` is.

    Raises:
        DataError: One of the two tables is missing or is none of Graft's.
    """
    hashes = {row["source"]: row["sha256"] for row in _rows(path.parent / "contents.csv", "source", "sha256")}
    kept: dict[str, Split] = {}
    for row in _rows(path, "source", "split"):
        split, sha256 = row["split"], hashes.get(row["source"])
        if split not in SPLITS or sha256 is None:
            wrong = (
                "has no content hash" if split in SPLITS else f"is in `{printable(split)}`, which is no split"
            )
            raise DataError(f"{KEY}: {path}: {printable(row['source'])} {wrong}. Name a whole run's table.")
        kept[sha256] = split
    return kept


def _rows(path: Path, *needed: str) -> Iterator[dict[str, str]]:
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            if not {*needed} <= {*(reader.fieldnames or ())}:
                raise DataError(
                    f"{KEY}: {path} has no columns {', '.join(needed)}. Name an earlier run's "
                    "data/samples.csv."
                )
            yield from reader
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"{KEY}: {path} cannot be read ({reason}). Name an earlier run's data/samples.csv, beside "
            "which its contents.csv is."
        ) from error
