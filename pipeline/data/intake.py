"""Labelled examples, read from what the user has: a folder a class, or a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from pipeline.data.labelled import Labelled
from pipeline.errors import DataError
from pipeline.files.samples import LONGEST_FIELD
from pipeline.files.sources import locate, name_below, root_of
from pipeline.recipe.data import Data, Table


def read_labelled(data: Data, *, cells: bool) -> list[Labelled]:
    """Read every labelled example of the recipe's source: files ordered by path, cells as in their table.

    Args:
        data: The recipe's section ``data``.
        cells: Whether a table holds the samples themselves, such as texts, rather than paths of files.

    Raises:
        DataError: There is no such source, it has no column of labels, or it holds no examples.
    """
    source = locate(data.source, "data.source")
    examples = _read_folder(source, data) if source.is_dir() else _read_table(source, data, cells=cells)
    if not examples:
        raise DataError(
            f"{source}: holds no labelled examples. "
            "A folder needs one subfolder a class, a table one line an example."
        )
    return examples if cells and not source.is_dir() else sorted(examples, key=lambda e: e.source)


def _read_folder(root: Path, data: Data) -> list[Labelled]:
    """Read a folder with one subfolder a class; whatever is hidden is left out."""
    if data.stratify_by:
        raise DataError(
            f"data.stratify_by: {root} is a folder and has no columns. "
            "Remove it, or name a table as data.source."
        )
    return [
        Labelled(name_below(path, root), label.name, path.absolute())
        for label in sorted(root.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for path in label.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    ]


def read_rows(path: Path, table: Table) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a table.

    Args:
        path: Path of the table.
        table: The recipe's section that says how to read it.

    Returns:
        The names of the columns; and for each row its line, from 1, and its values by the names of their
        columns.

    Raises:
        DataError: The table cannot be read, or a row has another number of values than there are columns.
    """
    encoding = "utf-8-sig" if table.encoding in {"auto", "utf-8"} else table.encoding
    separator = "," if table.separator == "auto" else table.separator
    try:
        with path.open(encoding=encoding, newline="") as file:
            numbered = _split(file, separator)
    except (OSError, UnicodeDecodeError, LookupError, csv.Error, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}). "
            f"It must be text in data.table.encoding ({table.encoding}) "
            "with data.table.separator between values."
        ) from error
    if not numbered:
        raise DataError(f"{path}: the table is empty.")
    columns = list(table.columns) if table.columns else numbered.pop(0)[1]
    for number, line in numbered:
        if len(line) != len(columns):
            raise DataError(
                f"{path}, line {number}: {len(line)} values, "
                f"but {len(columns)} columns ({', '.join(columns)})."
            )
    return columns, [(number, dict(zip(columns, line, strict=True))) for number, line in numbered]


def _split(file: TextIO, separator: str) -> list[tuple[int, list[str]]]:
    """Return the values of each row that is not empty, with the line at which it begins, from 1."""
    if separator == "whitespace":
        return [(number, line.split()) for number, line in enumerate(file, 1) if line.strip()]
    csv.field_size_limit(LONGEST_FIELD)  # its own default, 131,072 characters, is shorter than texts may be
    reader, rows, begins = csv.reader(file, delimiter=separator), [], 1
    for values in reader:
        if values:
            rows.append((begins, values))
        begins = reader.line_num + 1
    return rows


def _read_table(path: Path, data: Data, *, cells: bool) -> list[Labelled]:
    """Read a table of samples, or of the paths of files, which count from the table's folder."""
    columns, rows = read_rows(path, data.table)
    content = {"data.table.text": data.table.text} if cells else {"data.table.path": data.table.path}
    required = content | {"data.table.label": data.table.label}
    required |= {f"data.stratify_by[{index}]": name for index, name in enumerate(data.stratify_by)}
    missing = [f"{key}: `{name}`" for key, name in required.items() if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column for {'; '.join(missing)}. Its columns: {', '.join(columns)}.")
    root = (root_of(str(path), data.root) or path.parent).absolute()
    return [
        Labelled(
            source=f"{path.name}:{number}" if cells else name_below(root / row[data.table.path], root),
            path=None if cells else root / row[data.table.path],
            label=_label(row[data.table.label].strip(), data.table, path),
            strata=tuple(row[name] for name in data.stratify_by),
            text=row[data.table.text] if cells else None,
        )
        for number, row in rows
    ]


def _label(value: str, table: Table, path: Path) -> str:
    """Return the label that a value of the label column stands for: itself, or the class of its range."""
    if table.classes is None:
        if not value:
            raise DataError(
                f"{path}: a row has no value in the label column `{table.label}`. Fill it, or remove the row."
            )
        return value
    try:
        number = float(value)
    except ValueError as error:
        raise DataError(
            f"{path}: data.table.classes needs numbers in `{table.label}`, but one is {value!r}."
        ) from error
    names = [name for name, interval in table.classes.items() if interval.holds(number)]
    if len(names) != 1:
        classes = f"more than one class ({', '.join(names)})" if names else "no class"
        raise DataError(
            f"{path}: {table.label} = {value} falls into {classes} of data.table.classes. Mend the ranges."
        )
    return names[0]
