"""Parquet files, read forwards in batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row, identify_file
from pipeline.machine.extras import require

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetSource:
    """A Parquet file.

    Reading goes on where the last fragment ended, and begins anew only for an earlier one, since a file can
    only be decoded from the start of a group of rows.

    Args:
        path: Path of the file.

    Raises:
        GraftError: pyarrow is not installed, or it cannot be read as Parquet.
    """

    holds_paths = False

    def __init__(self, path: Path) -> None:
        require("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.base = path.absolute().parent
        try:
            self._file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise GraftError(
                f"{path}: cannot be read as a Parquet file ({reason}). Write it anew."
            ) from error
        self.schema: pa.Schema = self._file.schema_arrow
        self.columns = tuple(self.schema.names)
        self.shown = tuple(field.name for field in self.schema if not _holds_bytes(field.type))
        self._lock = Lock()
        self._at = 0
        self._rows: Iterator[tuple[object, ...]] = iter(())

    def places(self) -> Iterator[int]:
        """Yield the number of each row."""
        yield from range(self._file.metadata.num_rows)

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment."""
        with self._lock:
            if self._at > fragment.place or self._at == 0:
                self._at, self._rows = self._open_at(fragment.place)
            for _ in range(fragment.place - self._at):
                next(self._rows)
            self._at = fragment.place + fragment.rows
            return [Row(next(self._rows)) for _ in range(fragment.rows)]

    def identity(self) -> str:
        """Return what tells this file from a changed one."""
        return identify_file(self.path)

    def _open_at(self, place: int) -> tuple[int, Iterator[tuple[object, ...]]]:
        """Return the number of the first row of the group that holds one, and the rows from there."""
        start, groups = 0, range(self._file.num_row_groups)
        for group in groups:
            rows = self._file.metadata.row_group(group).num_rows
            if start + rows > place:
                return start, self._iterate(groups[group:])
            start += rows
        return start, iter(())

    def _iterate(self, groups: range) -> Iterator[tuple[object, ...]]:
        for batch in self._file.iter_batches(batch_size=256, row_groups=list(groups)):
            columns = [column.to_pylist() for column in batch.columns]
            yield from zip(*columns, strict=True)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Return whether values are files, alone or as Hugging Face keeps them: ``{bytes, path}``."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )
