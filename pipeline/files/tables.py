"""Tables of a run as CSV: names that are not UTF-8 and values of any length come back as they were."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.files import atomic

LONGEST_FIELD = 10_000_000


def write_table(path: Path, header: tuple[str, ...], rows: Callable[[], Iterable[tuple[str, ...]]]) -> None:
    """Write a table in one step.

    Args:
        path: The file.
        header: Names of the columns.
        rows: Returns the rows. It is called twice, so that they need not all be held at once.

    Raises:
        OSError: It cannot be written.
    """
    # The writer does not by itself quote a lone carriage return, at which the reader would end the line.
    special = any("\r" in value for row in rows() for value in row)
    content = io.BytesIO()
    with io.TextIOWrapper(content, "utf-8", "surrogateescape", newline="") as text:
        writer = csv.writer(
            text, lineterminator="\n", quoting=csv.QUOTE_ALL if special else csv.QUOTE_MINIMAL
        )
        writer.writerow(header)
        writer.writerows(rows())
        text.flush()
        atomic.write_bytes(path, content.getvalue())


def read_table(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table, each by the names of the columns.

    Raises:
        OSError: It cannot be read.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from csv.DictReader(file)
