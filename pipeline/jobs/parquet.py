"""Parquet, read forwards in batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import GraftError
from pipeline.jobs.parquet_parts import open_parts
from pipeline.jobs.rows import NOT_UTF8, Fragment, Row, identify_file, identify_files
from pipeline.machine.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 256
MOST_KEPT = 64  # fragments that were passed on the way to a later one


class ParquetSource:
    """A Parquet file, or a folder of such files, which are one table.

    Reading goes on where it was. Fragments that are passed on the way to a later one are kept for the threads
    that ask for them next, since a file can only be decoded from the start of a group of rows. A thread that
    is alone, as in a worker of a cluster, does not come back to them.

    Args:
        path: Path of the file or folder.
        names: Paths of a folder's files from it, in order; none, the default, for a file.

    Raises:
        GraftError: pyarrow is not installed, a file cannot be read as Parquet or has other columns than the
            first, or two columns have one name.
    """

    holds_paths = False

    def __init__(self, path: Path, names: Sequence[str] = ()) -> None:
        require("pyarrow")

        self.path = path
        self.base = path.absolute() if names else path.absolute().parent
        self._names = names
        self._parts = open_parts(path, names)
        self.schema: pa.Schema = self._parts.schema
        self.columns = tuple(self.schema.names)
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise GraftError(f"{path}: more than one column has the name {twice[0]!r}. Rename one of them.")
        self.shown = tuple(field.name for field in self.schema if not _holds_bytes(field.type))
        self._lock = threading.Lock()
        self._own = threading.local()
        self._threads: set[int] = set()
        self._kept: dict[int, pa.Table] = {}
        self._at = -1
        self._tables: Iterator[pa.Table] = iter(())

    def places(self) -> Iterator[int]:
        """Yield the number of each row."""
        yield from range(self._parts.rows)

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment."""
        table = self.table(fragment)
        faults: set[int] = set()
        values = [_to_list(column, faults) for column in table.columns]
        return [
            Row(row, NOT_UTF8 if index in faults else None)
            for index, row in enumerate(zip(*values, strict=True))
        ]

    def table(self, fragment: Fragment) -> pa.Table:
        """Return the rows of a fragment as Arrow has them; the last one of a thread is at hand."""
        if getattr(self._own, "place", None) != fragment.place:
            with self._lock:
                self._own.table = self._find(fragment)
            self._own.place = fragment.place
        table: pa.Table = self._own.table
        return table

    def identity(self) -> str:
        """Return what tells this table from a changed one."""
        return identify_files(self.path, self._names) if self._names else identify_file(self.path)

    def _find(self, fragment: Fragment) -> pa.Table:
        """Return the rows of a fragment; all of a job have as many rows, but for the last."""
        self._threads.add(threading.get_ident())
        if fragment.place in self._kept:
            return self._kept.pop(fragment.place)
        if not 0 <= fragment.place - self._at <= MOST_KEPT * fragment.rows or self._at < 0:
            self._at, self._tables = fragment.place, self._iterate(fragment.place, fragment.rows)
        while True:
            at, table = self._at, next(self._tables)
            self._at += fragment.rows
            if at == fragment.place:
                return table
            if len(self._threads) > 1:
                self._kept[at] = table
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]

    def _iterate(self, place: int, rows: int) -> Iterator[pa.Table]:
        """Yield tables of some rows each, from one row on."""
        import pyarrow as pa

        waiting = pa.Table.from_batches([], self.schema)
        for batch in self._parts.read(place, min(rows, BATCH)):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch], self.schema)])
            while waiting.num_rows >= rows:
                yield waiting.slice(0, rows)
                waiting = waiting.slice(rows)
        yield waiting


def _to_list(column: pa.ChunkedArray, faults: set[int]) -> list[object]:
    """Return the values of a column; as text where Python has none such, as for years beyond 9999.

    Args:
        column: The column.
        faults: Where the rows are added whose text is not UTF-8, which Parquet does not check.
    """
    import pyarrow as pa

    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        values = [_to_value(scalar, index, faults) for index, scalar in enumerate(column)]
    except (OverflowError, ValueError):
        values = column.cast(pa.string()).to_pylist()
    return values


def _to_value(scalar: pa.Scalar, index: int, faults: set[int]) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        faults.add(index)
        buffer = scalar.as_buffer() if hasattr(scalar, "as_buffer") else None  # nested ones have none
        return None if buffer is None else buffer.to_pybytes().decode(errors="replace")


def _holds_bytes(kind: pa.DataType) -> bool:
    """Return whether values are files, alone, as Hugging Face keeps them (``{bytes, path}``), or in lists."""
    import pyarrow as pa

    inner = [kind.field(index).type for index in range(kind.num_fields)]
    if inner:
        return any(map(_holds_bytes, inner))
    checks = ("is_binary", "is_large_binary", "is_fixed_size_binary", "is_binary_view")
    return any(getattr(pa.types, check)(kind) for check in checks)
