"""Parquet as the output of a job: the input's own types where it is Parquet, and text otherwise."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.jobs.answers import Answered
from pipeline.jobs.formats import PREDICTED, Columns, to_json
from pipeline.jobs.parquet import ParquetSource
from pipeline.jobs.rows import Fragment, Source
from pipeline.machine.extras import require
from serving.model.schemas import Truncation

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

    def encode(self, fragment: Fragment, answers: Sequence[Answered]) -> bytes:
        """Return the rows as a Parquet file of their own."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema()
        predicted = [self.columns.predicted(each) for each in answers]
        fields = list(schema)[-len(PREDICTED) :]
        arrays = [
            pa.array([row[index] for row in predicted], field.type) for index, field in enumerate(fields)
        ]
        table = pa.Table.from_arrays([*self._repeated(fragment, answers), *arrays], schema=schema)
        content = io.BytesIO()
        pq.write_table(table, content)
        return content.getvalue()

    def _repeated(self, fragment: Fragment, answers: Sequence[Answered]) -> list[pa.Array]:
        """Return the input's columns: as they are where it is Parquet, and as text otherwise."""
        import pyarrow as pa

        if isinstance(self.source, ParquetSource):
            table = self.source.table(fragment)
            return [table.column(index) for index in self.columns.repeated]
        values = [self.columns.values(each) for each in answers]
        return [
            pa.array([_to_cell(row[index]) for row in values], pa.string())
            for index in range(len(self.columns.repeated))
        ]

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
        cut = pa.struct([(name, pa.int64()) for name in Truncation.model_fields])
        kinds += [pa.string(), pa.float64(), probabilities, cut, pa.string(), pa.string()]
        return pa.schema(list(zip(names, kinds, strict=True)))


def _to_cell(value: object) -> str | None:
    """Return a value of JSON or CSV as text; what JSON has no text for, as JSON."""
    return value if value is None or isinstance(value, str) else to_json(value)
