"""Parquet as the output of a job: the input's own types where it is Parquet, and text otherwise."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.jobs.answers import Answered
from pipeline.jobs.formats import PREDICTED, Columns
from pipeline.jobs.parquet import ParquetSource
from pipeline.jobs.rows import Source
from pipeline.machine.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 65_536  # of a group in the finished file


@dataclass(frozen=True)
class Parquet:
    """A Parquet file.

    Attributes:
        columns: The columns.
        source: The input.
    """

    columns: Columns
    source: Source

    def encode(self, answers: Sequence[Answered]) -> bytes:
        """Return the rows as a Parquet file of their own."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema()
        rows = [self.columns.values(each) for each in answers]
        arrays = [
            pa.array([_convert(row[index], field.type) for row in rows], field.type)
            for index, field in enumerate(schema)
        ]
        content = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), content)
        return content.getvalue()

    def assemble(self, fragments: Iterable[Path], output: IO[bytes]) -> None:
        """Write all fragments into groups that readers like: of many rows, but not of all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        waiting: list[pa.Table] = []
        with pq.ParquetWriter(output, self._schema()) as writer:
            for path in fragments:
                waiting.append(pq.read_table(path, memory_map=False))
                if sum(table.num_rows for table in waiting) >= ROWS_AT_ONCE:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))

    def _schema(self) -> pa.Schema:
        require("pyarrow")
        import pyarrow as pa

        names = self.columns.names
        own = isinstance(self.source, ParquetSource) and self.source.schema
        kinds = [own.field(name).type if own else pa.string() for name in names[: -len(PREDICTED)]]
        probabilities = pa.struct([(label, pa.float64()) for label in self.columns.labels])
        kinds += [pa.string(), pa.float64(), probabilities, pa.string(), pa.string()]
        return pa.schema(list(zip(names, kinds, strict=True)))


def _convert(value: object, kind: pa.DataType) -> object:
    """Return a value as its column takes it: numbers of JSON stand in columns of text."""
    import pyarrow as pa

    return (
        str(value) if value is not None and pa.types.is_string(kind) and not isinstance(value, str) else value
    )
