"""Tables in Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.tables.arrow import Column, plan_columns, rows_at_once
from pipeline.data.tables.rows import Row, Rows, check_names
from pipeline.errors import DataError
from pipeline.machine.extras import require


@dataclass(frozen=True)
class _ParquetRows:
    """The rows of a Parquet file; each pass reads the file anew, one batch after the other."""

    path: Path
    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Row]:
        names = [column.name for column in self.columns]
        number = 0
        with _open(self.path) as file:
            for batch in file.iter_batches(batch_size=rows_at_once(self.columns), columns=names):
                cells = [column.convert(batch.column(column.name)) for column in self.columns]
                for values in zip(*cells, strict=True):
                    number += 1
                    yield Row(number, values)


def open_parquet(path: Path) -> Rows:
    """Open a Parquet file.

    Args:
        path: Path of the file.

    Raises:
        GraftError: pyarrow is not installed.
        DataError: The file cannot be read as Parquet, or two columns have one name.
    """
    require("pyarrow")
    with _open(path) as file:
        check_names(path, file.schema_arrow.names, "Rename the columns.")
        columns, nested = plan_columns(file.schema_arrow, str(path))
        total = file.metadata.num_rows
    names = tuple(column.name for column in columns)
    return Rows(str(path), names, _ParquetRows(path, columns) if columns else (), total, nested)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a Parquet file, and explain what pyarrow raises while it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].strip()
        raise DataError(
            f"{path}: cannot be read as a Parquet file ({reason}). Copy it again, or write it anew."
        ) from error
