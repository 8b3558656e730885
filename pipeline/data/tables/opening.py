"""Tables of any storage: recognised by suffix and content, opened, and understood."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.data.tables.delimited import open_delimited, propose_readings, understand_delimited
from pipeline.data.tables.encodings import find_encoding, guess_encoding, read_start
from pipeline.data.tables.excel import open_excel
from pipeline.data.tables.header import has_header, name_columns
from pipeline.data.tables.json_objects import open_json
from pipeline.data.tables.parquet import open_parquet
from pipeline.data.tables.rows import Rows
from pipeline.errors import DataError
from pipeline.recipe.data import Table

Storage = Literal["delimited", "json", "parquet", "excel"]
STORAGES: dict[str, Storage] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".psv": "delimited",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
}
TABLE_SUFFIXES = frozenset(STORAGES)
REFUSED = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel file (.xls). Save it as .xlsx, or as CSV UTF-8."),
    (b"\x1f\x8b", "is compressed with gzip. Unpack it first: gunzip --keep FILE"),
    (b"BZh", "is compressed with bzip2. Unpack it first: bunzip2 --keep FILE"),
    (b"\xfd7zXZ\0", "is compressed with xz. Unpack it first: unxz --keep FILE"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd. Unpack it first: unzstd FILE"),
)


def open_rows(path: Path, table: Table) -> Rows:
    """Open a table of any storage as a stream of rows.

    Args:
        path: Path of the table.
        table: The recipe's section that says how to read it; what is ``auto`` is found in the file.

    Raises:
        GraftError: The package that reads the storage is not installed.
        DataError: The table cannot be read, or can be read in several ways. Rows with too many or too few
            values are listed in one error once all rows have been read.
    """
    storage = find_storage(path)
    if storage == "delimited":
        return open_delimited(path, table)
    if storage == "excel":
        return open_excel(path, table.columns)
    if table.columns is not None:
        raise DataError(
            f"{path}: data.table.columns is for tables without names of columns, but this one has names. "
            "Remove the key."
        )
    return open_json(path, table.encoding) if storage == "json" else open_parquet(path)


def understand(path: Path, table: Table, *, propose: bool = False) -> Table:
    """Return the format of a table with everything that was ``auto`` as the file has it.

    Args:
        path: Path of the table.
        table: What is known of its format.
        propose: Whether to guess where the file alone does not tell: the encoding of a file that is not
            UTF-8, the likelier of two readings, and names of columns where the first line holds none. A
            person should confirm these; :func:`propose_formats` gives all readings.

    Raises:
        DataError: The table cannot be read; or, unless ``propose`` is set, can be read in several ways.
    """
    storage = find_storage(path)
    if storage in {"parquet", "excel"}:
        return table
    if storage == "json":
        guess = guess_encoding(path) if propose and table.encoding == "auto" else None
        return table.model_copy(update={"encoding": guess or find_encoding(path, table.encoding)})
    return propose_formats(path, table)[0] if propose else understand_delimited(path, table)


def propose_formats(path: Path, table: Table) -> tuple[Table, ...]:
    """Return the formats in which a table of text can be read, the likeliest first, with all guesses made.

    Args:
        path: Path of the table.
        table: What is known of its format.

    Raises:
        DataError: The table cannot be read in any way.
    """
    return tuple(
        known
        if known.columns or has_header(path, known)
        else known.model_copy(update={"columns": name_columns(path, known)})
        for known in propose_readings(path, table)
    )


def find_storage(path: Path) -> Storage:
    """Return how a table is stored: by its first bytes where they tell, else by its suffix, else as text.

    Raises:
        DataError: The file cannot be opened, or is of a kind that is not read; the message says what to do.
    """
    start = read_start(path, 8)
    for mark, reason in REFUSED:
        if start.startswith(mark):
            raise DataError(f"{path}: {reason}")
    if start.startswith(b"PAR1"):
        return "parquet"
    storage = STORAGES.get(path.suffix.lower(), "delimited")
    if start.startswith(b"PK\3\4") and storage != "excel":
        raise DataError(f"{path}: is a ZIP archive. Unpack it, or, if it is an Excel file, name it .xlsx.")
    return storage
