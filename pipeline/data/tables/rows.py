"""What every storage of tables is read as: the names of columns, and a stream of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pipeline.errors import DataError

Cell = str | bytes | None
MOST_LISTED = 10
MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        line: Line of the file at which the row begins, from 1. For Excel it is the row's number in its sheet,
            and for Parquet and data sets the row's number, both from 1.
        values: The cells of the row, in the order of the columns: None is a value that is missing, bytes are
            what a storage embeds, such as a picture, and everything else is text.
    """

    line: int
    values: tuple[Cell, ...]


@dataclass(frozen=True)
class Rows:
    """A table that is read as a stream.

    Attributes:
        source: Name of the table, for messages.
        columns: Names of the columns that hold one value a row; they are unique.
        rows: The rows. Each pass over them reads the table anew, in memory that does not grow with it. The
            pass raises a :class:`DataError` where the table cannot be read, at the end at the latest.
        total: Number of rows, where it is known without another pass; otherwise None.
        nested: The columns that hold lists or objects, which are not among ``columns``, and for each where
            and what it holds.
    """

    source: str
    columns: tuple[str, ...]
    rows: Iterable[Row]
    total: int | None = None
    nested: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def index(self, name: str, key: str) -> int:
        """Return the position of a column among the values of a row.

        Args:
            name: Name of the column.
            key: Key of the recipe that names it, for the error.

        Raises:
            DataError: There is no such column, or it holds lists or objects.
        """
        if name in self.columns:
            return self.columns.index(name)
        if name in self.nested:
            raise DataError(
                f"{self.source}: {key}: the column {shown(name)} holds nested values ({self.nested[name]}). "
                "Name a column with one value a row, or write the part that is needed to a column of its own."
            )
        names = ", ".join(shown(column) for column in self.columns)
        raise DataError(
            f"{self.source}: has no column {shown(name)} for {key}. Its columns: {names}. "
            f"Name one of them as {key}."
        )


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Return a text of the data in quotes, cut, and with everything escaped that is not plainly visible."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def listed(items: Sequence[str], count: int) -> str:
    """Return the first items of a longer list, one a line, with the number of the others.

    Args:
        items: The first items, as many as are shown.
        count: Number of all items.
    """
    more = [f"… and {count - len(items)} more"] if count > len(items) else []
    return "".join(f"\n  {item}" for item in [*items, *more])


def check_names(source: Path | str, names: Sequence[str], remedy: str) -> tuple[str, ...]:
    """Return the names of a table's columns, without the spaces around them; one without a name is numbered.

    Args:
        source: Name of the table, for the error.
        names: The names, as the table has them.
        remedy: Sentence for the error that says what the user can do.

    Raises:
        DataError: Two columns have one name.
    """
    # A column without a name is an index that a tool has written, and no reason to refuse the others.
    stripped = tuple(name.strip() or f"unnamed {number}" for number, name in enumerate(names, 1))
    twice = sorted({name for name in stripped if stripped.count(name) > 1})
    faults = [f"more than one column has the name {shown(name)}" for name in twice]
    if faults:
        raise DataError(f"{source}: {'; '.join(faults)}. {remedy}")
    return stripped


def explain_ragged(source: Path | str, columns: Sequence[str], ragged: Sequence[str], count: int) -> str:
    """Return the message for rows that do not have as many values as there are columns.

    Args:
        source: Name of the table.
        columns: Names of the columns.
        ragged: The first of these rows: their line and their number of values.
        count: Number of all of these rows.
    """
    names = ", ".join(shown(name) for name in columns)
    rows = "1 row has" if count == 1 else f"{count} rows have"
    return (
        f"{source}: {rows} another number of values than the {len(columns)} columns ({names}):"
        f"{listed(ragged, count)}\nMend these lines; or, if the table is read in the wrong way, set "
        "data.table.separator or data.table.quoting."
    )
