"""Tables of delimited text, read from any row on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pipeline.errors import GraftError
from pipeline.files.tables import LONGEST_FIELD
from pipeline.jobs.rows import NOT_UTF8, Fragment, Row, identify_file

SEPARATORS = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
GUESSED = ",;\t|"
MARK = b"\xef\xbb\xbf"


class DelimitedSource:
    """A table of delimited text in UTF-8, whose first row names the columns.

    Args:
        path: Path of the table.

    Raises:
        GraftError: It is empty, its first line cannot be read, or two columns have one name.
    """

    holds_paths = False

    def __init__(self, path: Path) -> None:
        csv.field_size_limit(LONGEST_FIELD)
        self.path = path
        self.base = path.absolute().parent
        with path.open("rb") as file:
            lines = (line.removeprefix(MARK) for line in file)
            first = next((line for line in lines if line.strip()), b"")
            text = first.decode(errors="replace")
            self._separator = SEPARATORS.get(path.suffix.lower()) or max(GUESSED, key=text.count)
            rows = (found for found in self._read_from(file, 0) if found[0].values or found[0].fault)
            header, self._start = next(rows, (Row(()), 0))
        self.columns = self.shown = tuple(str(name).strip() for name in header.values)
        _require_names(path, self.columns, _explain_header(first, header))

    def places(self) -> Iterator[int]:
        """Yield the byte at which each row begins; empty lines are none."""
        at = self._start
        with self.path.open("rb") as file:
            for row, end in self._read_from(file, at):
                if row.values or row.fault:
                    yield at
                at = end

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment; one with too many or too few values, or other bytes, has a fault."""
        rows: list[Row] = []
        with self.path.open("rb") as file:
            for row, _ in self._read_from(file, fragment.place):
                if row.values or row.fault:
                    rows.append(self._checked(row))
                if len(rows) == fragment.rows:
                    break
        return rows

    def identity(self) -> str:
        """Return what tells this table from a changed one."""
        return identify_file(self.path)

    def _read_from(self, file: IO[bytes], start: int) -> Iterator[tuple[Row, int]]:
        """Yield each row from a byte on, and the byte at which it ends.

        A row that cannot be read, such as one with a quote that nothing closes, is its first line alone, so
        that it takes none of the others with it.
        """
        end = begin = start
        file.seek(start)

        def lines() -> Iterator[str]:
            nonlocal end
            for line in file:
                text = line.removeprefix(MARK) if end == 0 else line
                end += len(line)
                yield text.decode("utf-8", "surrogateescape").replace("\0", "\ufffd")

        # It takes no more lines than a row has, so that what was taken is where the next one begins.
        reader = csv.reader(lines(), delimiter=self._separator, strict=True)
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                file.seek(begin)
                end = begin + len(file.readline())
                file.seek(end)
                reader = csv.reader(lines(), delimiter=self._separator, strict=True)
                yield Row((), f"is no CSV ({error})"), end
            else:
                yield Row(tuple(values)), end
            begin = end

    def _checked(self, row: Row) -> Row:
        """Return a row with as many values as there are columns, and with what is wrong with it."""
        values, fault = [str(value) for value in row.values], row.fault
        if fault is None and len(values) != len(self.columns):
            fault = f"has {len(values)} values, and the table {len(self.columns)} columns"
        if not _is_text(values):
            fault = NOT_UTF8
            values = [value.encode("utf-8", "surrogateescape").decode(errors="replace") for value in values]
        padded = [*values, *[""] * len(self.columns)][: len(self.columns)]
        return Row(tuple(padded), fault)


def _require_names(path: Path, names: tuple[str, ...], fault: str | None) -> None:
    if fault is not None:
        raise GraftError(
            f"{path}: the first line, which names the columns, is no CSV in UTF-8{fault}. "
            "Save the table as CSV in UTF-8."
        )
    if not names:
        raise GraftError(f"{path}: the table is empty; its first line names the columns.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GraftError(f"{path}: more than one column has the name {twice[0]!r}. Rename one of them.")


def _explain_header(line: bytes, header: Row) -> str | None:
    """Return why a first line names no columns, in brackets; None if it does."""
    if b"\0" in line:
        return " (it holds zero bytes, as UTF-16 does)"
    if header.fault and b"\r" in line.rstrip(b"\r\n"):
        return " (its lines end in a carriage return alone)"
    if header.fault:
        return f" (it {header.fault})"
    return None if _is_text([str(name) for name in header.values]) else ""


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
