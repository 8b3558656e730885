"""Tables of delimited text, read from any row on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row, identify_file

SEPARATORS = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
GUESSED = ",;\t|"
MARK = b"\xef\xbb\xbf"
MOST_CHARACTERS = 100_000_000  # of one field; Python's own limit is 131,072


class DelimitedSource:
    """A table of delimited text in UTF-8, whose first row names the columns.

    Args:
        path: Path of the table.

    Raises:
        GraftError: It is empty, or two columns have one name.
    """

    holds_paths = False

    def __init__(self, path: Path) -> None:
        csv.field_size_limit(MOST_CHARACTERS)
        self.path = path
        self.base = path.absolute().parent
        with path.open("rb") as file:
            first = file.readline().removeprefix(MARK).decode(errors="replace")
            self._separator = SEPARATORS.get(path.suffix.lower()) or max(GUESSED, key=first.count)
            file.seek(0)
            header, self._start = next(self._read_from(file, 0), ([], 0))
        self.columns = tuple(name.strip() for name in header)
        self.shown = self.columns
        if not self.columns:
            raise GraftError(f"{path}: the table is empty; its first line names the columns.")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise GraftError(f"{path}: more than one column has the name {twice[0]!r}. Rename one of them.")

    def places(self) -> Iterator[int]:
        """Yield the byte at which each row begins; empty lines are none."""
        at = self._start
        with self.path.open("rb") as file:
            file.seek(at)
            for values, end in self._read_from(file, at):
                if values:
                    yield at
                at = end

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment; one with too many or too few values, or other bytes, has a fault."""
        rows: list[Row] = []
        with self.path.open("rb") as file:
            file.seek(fragment.place)
            for values, _ in self._read_from(file, fragment.place):
                if values:
                    rows.append(self._to_row(values))
                if len(rows) == fragment.rows:
                    break
        return rows

    def identity(self) -> str:
        """Return what tells this table from a changed one."""
        return identify_file(self.path)

    def _read_from(self, file: IO[bytes], start: int) -> Iterator[tuple[list[str], int]]:
        """Yield the values of each row, and the byte at which it ends."""
        end = start

        def lines() -> Iterator[str]:
            nonlocal end
            for line in file:
                text = line.removeprefix(MARK) if end == 0 else line
                end += len(line)
                yield text.decode("utf-8", "surrogateescape").replace("\0", "\ufffd")

        # It takes no more lines than a row has, so that what was taken is where the next one begins.
        for values in csv.reader(lines(), delimiter=self._separator):
            yield values, end

    def _to_row(self, values: list[str]) -> Row:
        fault = None
        if len(values) != len(self.columns):
            fault = f"has {len(values)} values, and the table {len(self.columns)} columns"
        if not _is_text(values):
            fault = "is not in UTF-8"
            values = [value.encode("utf-8", "surrogateescape").decode(errors="replace") for value in values]
        padded = [*values, *[""] * len(self.columns)][: len(self.columns)]
        return Row(tuple(padded), fault)


def _is_text(values: Sequence[str]) -> bool:
    """Return whether values can be written as UTF-8, which half of a character cannot."""
    text = "".join(values)
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
