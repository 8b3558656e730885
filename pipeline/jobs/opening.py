"""Inputs of any storage, by what they are."""

from __future__ import annotations

from pathlib import Path, PurePath

from pipeline.errors import GraftError
from pipeline.jobs.delimited import DelimitedSource
from pipeline.jobs.folder import FolderSource
from pipeline.jobs.json_lines import JsonLinesSource
from pipeline.jobs.parquet import ParquetSource
from pipeline.jobs.rows import Source

READERS: dict[str, type[DelimitedSource | JsonLinesSource | ParquetSource]] = {
    ".csv": DelimitedSource,
    ".tsv": DelimitedSource,
    ".tab": DelimitedSource,
    ".psv": DelimitedSource,
    ".jsonl": JsonLinesSource,
    ".ndjson": JsonLinesSource,
    ".parquet": ParquetSource,
    ".pq": ParquetSource,
}
# Names that columns of inputs usually have, in the order in which they are looked for. A column of paths is
# no text, and one of texts no path.
FILES = ("image", "path", "file", "file_name", "filename")
VALUES = (
    *("text", "sentence", "content", "review", "message"),
    *("tweet", "question", "utterance", "comment", "title"),
)


def open_source(path: Path) -> Source:
    """Open a table or a folder.

    Args:
        path: Its path.

    Raises:
        GraftError: There is nothing, or it is of a storage that is not read in this way, or it is a folder of
            several tables.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise GraftError(f"{path}: there is no such table or folder.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise GraftError(f"{path}: is none of {known}. Save it as one of these, or name a folder of files.")
    if not path.is_file():
        raise GraftError(f"{path}: is no regular file, and rows are read at their places. Save it as one.")
    try:
        return reader(path)
    except OSError as error:
        raise GraftError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _open_folder(path: Path) -> Source:
    """Return a folder as the files that it holds, or as the one table that they are parts of."""
    folder = FolderSource(path)
    # Those of Spark and Hive have marks beside their parts, such as _SUCCESS.
    names = [name for name in folder.names if not PurePath(name).name.startswith("_")]
    readers = {READERS.get(PurePath(name).suffix.lower()) for name in names}
    if readers == {ParquetSource}:
        return ParquetSource(path, names)
    if readers and None not in readers:
        raise GraftError(f"{path}: holds tables alone, such as {names[0]}. Name one of them as --input.")
    return folder


def find_column(source: Source, wanted: str | None, *, of_files: bool) -> int:
    """Return the position of the column that is predicted.

    Args:
        source: The input.
        wanted: Name of the column; None to look for a usual name.
        of_files: Whether the model takes files, so that the column holds their bytes or paths.

    Raises:
        GraftError: There is no such column, or none has a usual name.
    """
    columns = ", ".join(source.columns)
    if wanted is not None:
        if wanted in source.columns:
            return source.columns.index(wanted)
        raise GraftError(f"{source.path}: has no column {wanted!r}. Its columns: {columns}.")
    if len(source.columns) == 1:
        return 0
    lowered = [name.lower() for name in source.columns]
    for name in FILES if of_files else VALUES:
        if name in lowered:
            return lowered.index(name)
    of_bytes = [index for index, name in enumerate(source.columns) if name not in source.shown]
    if of_files and len(of_bytes) == 1:
        return of_bytes[0]
    usual = "files, such as image or path" if of_files else "inputs, such as text"
    raise GraftError(
        f"{source.path}: no column has a usual name for {usual}. "
        f"Name it: --column NAME. Its columns: {columns}."
    )
