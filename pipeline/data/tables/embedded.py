"""Bytes that a table embeds, such as pictures in Parquet, read when they are asked for and not kept."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.tables.arrow import plan_columns
from pipeline.data.tables.rows import Cell


@dataclass(frozen=True)
class ParquetCell:
    """Embedded bytes of a Parquet file.

    Attributes:
        path: Path of the file.
        column: Name of the column.
        row: Number of the row, from 1.
    """

    path: Path
    column: str
    row: int

    def __call__(self) -> bytes:
        """Return the bytes; none where the cell holds none.

        Raises:
            OSError: The file cannot be read any more.
        """
        first, group = _find_group(self.path, self.row - 1)
        cell = _read_group(self.path, self.column, group)[self.row - 1 - first]
        return cell if isinstance(cell, bytes) else b""


@dataclass(frozen=True)
class DatasetCell:
    """Embedded bytes of a data set of Hugging Face.

    Attributes:
        dataset: The data set, whose pictures are not decoded.
        column: Name of the column.
        row: Number of the row, from 1.
    """

    dataset: Any
    column: str
    row: int

    def __call__(self) -> bytes:
        """Return the bytes; none where the cell holds none."""
        table = self.dataset.select_columns([self.column]).with_format("arrow")[self.row - 1 : self.row]
        columns, _ = plan_columns(self.dataset.features.arrow_schema, "")
        column = next(each for each in columns if each.name == self.column)
        cell = column.convert(table.column(self.column).chunk(0))[0]
        return cell if isinstance(cell, bytes) else b""


@functools.lru_cache(maxsize=64)
def _group_starts(path: Path) -> tuple[int, ...]:
    import pyarrow.parquet as pq

    metadata = pq.ParquetFile(path).metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return tuple(starts)


def _find_group(path: Path, row: int) -> tuple[int, int]:
    """Return the first row of the group that holds a row, and the group's number, both from 0."""
    starts = _group_starts(path)
    group = next(number for number, start in enumerate(starts[1:]) if row < start)
    return starts[group], group


@functools.lru_cache(maxsize=4)  # rows are asked for in their order, by a few threads at once
def _read_group(path: Path, column: str, group: int) -> Sequence[Cell]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    columns, _ = plan_columns(file.schema_arrow, str(path))
    table = file.read_row_group(group, columns=[column])
    convert = next(each.convert for each in columns if each.name == column)
    return [cell for chunk in table.column(column).chunks for cell in convert(chunk)]
