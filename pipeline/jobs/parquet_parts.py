"""The files of a Parquet table: one, or all those of a folder, as Spark, Hive and pandas write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeline.errors import GraftError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """A file of a table.

    Attributes:
        path: The file.
        start: Number of its first row in the table.
        rows: Number of its rows.
        keys: What the folders above it say of all its rows, ``NAME=VALUE``, by name.
    """

    path: Path
    start: int
    rows: int
    keys: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Parts:
    """All files of a table, in order.

    Attributes:
        parts: The files.
        schema: Names and types of the columns, those that folders name last.
        rows: Number of rows.
    """

    parts: tuple[Part, ...]
    schema: pa.Schema
    rows: int

    def read(self, place: int, most: int) -> Iterator[pa.RecordBatch]:
        """Yield all rows from one on.

        Args:
            place: Number of the first row.
            most: Most rows of a batch, all of which are held.
        """
        for part in self.parts:
            skip = max(0, place - part.start)
            if skip < part.rows:
                yield from self._read(part, skip, most)

    def _read(self, part: Part, skip: int, most: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        file = open_file(part.path)
        passed, groups = _find_group(file, skip)
        skip -= passed
        for batch in file.iter_batches(batch_size=most, row_groups=groups):
            rest = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - rest.num_rows
            keys = dict(part.keys)
            columns = [
                rest.column(name)
                if name in rest.schema.names
                else pa.array([keys[name]] * len(rest), pa.string())
                for name in self.schema.names
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)


def open_parts(path: Path, names: Sequence[str]) -> Parts:
    """Look into the files of a table.

    Args:
        path: The file, or the folder.
        names: Paths of its files from the folder; none if it is a file itself.

    Raises:
        GraftError: One cannot be read as Parquet, or has other columns than the first.
    """
    import pyarrow as pa

    parts: list[Part] = []
    schema: pa.Schema | None = None
    start = 0
    for name in names or [""]:
        place = path / name if name else path
        file = open_file(place)
        keys = tuple((key, value) for key, value in _read_keys(name) if key not in file.schema_arrow.names)
        own = pa.schema([*file.schema_arrow, *((key, pa.string()) for key, _ in keys)])
        if schema is None:
            schema = own
        elif _columns(own) != _columns(schema):
            raise GraftError(
                f"{place}: has other columns, or columns of other types, than {parts[0].path.name}. "
                "Write both alike, or predict them one by one."
            )
        rows = file.metadata.num_rows
        parts.append(Part(place, start, rows, keys))
        start += rows
    return Parts(tuple(parts), schema, start)


def open_file(path: Path) -> pq.ParquetFile:
    """Open a file, whose content is read when it is needed.

    Args:
        path: The file.

    Raises:
        GraftError: It cannot be read as Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise GraftError(f"{path}: cannot be read as a Parquet file ({reason}). Write it anew.") from error


def _columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema}


def _read_keys(name: str) -> Iterator[tuple[str, str | None]]:
    """Yield what the folders of a path say, as Hive writes it: ``lang=de/part-0.parquet``."""
    for folder in PurePosixPath(name).parts[:-1]:
        key, sign, value = folder.partition("=")
        if sign:
            yield unquote(key), None if value == NO_VALUE else unquote(value)


def _find_group(file: pq.ParquetFile, place: int) -> tuple[int, list[int]]:
    """Return the first row of the group that holds a row, and that group with all later ones."""
    start = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if start + rows > place:
            return start, list(range(group, file.num_row_groups))
        start += rows
    return start, []
