"""Read what the user has, a folder a class or a table, as a list of labelled files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.recipe import Data, Table
from pipeline.sources import locate


@dataclass(frozen=True)
class LabelledFile:
    """One file with its label and its values in the ``stratify_by`` columns."""

    path: Path
    label: str
    strata: tuple[str, ...] = ()


def read_labelled_files(data: Data) -> list[LabelledFile]:
    """Every labelled file of the recipe's source, ordered by path.

    Raises:
        DataError: There is no such source, no label column, or nothing in it.
    """
    source = locate(data.source, "data.source")
    files = _read_folder(source, data) if source.is_dir() else _read_table(source, data)
    if not files:
        raise DataError(f"{source}: holds no labelled files. A folder needs one subfolder a class, a table one line a file.")
    return sorted(files, key=lambda file: str(file.path))


def _read_folder(root: Path, data: Data) -> list[LabelledFile]:
    if data.stratify_by:
        raise DataError(f"data.stratify_by: {root} is a folder and has no columns. Remove it, or name a table as data.source.")
    return [
        LabelledFile(path.absolute(), label.name)
        for label in sorted(root.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for path in label.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    ]


def read_rows(path: Path, table: Table) -> tuple[list[str], list[dict[str, str]]]:
    """A table's column names and its rows.

    Raises:
        DataError: The table cannot be read, or a row has another number of values than there are columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = (
                [line.split() for line in file] if table.separator == "whitespace" else list(csv.reader(file, delimiter=table.separator))
            )
    except (OSError, UnicodeDecodeError, csv.Error, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}). It must be UTF-8 text with data.table.separator between values."
        ) from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not numbered:
        raise DataError(f"{path}: the table is empty.")
    columns = list(table.columns) if table.columns else numbered.pop(0)[1]
    for number, line in numbered:
        if len(line) != len(columns):
            raise DataError(f"{path}, line {number}: {len(line)} values, but {len(columns)} columns ({', '.join(columns)}).")
    return columns, [dict(zip(columns, line, strict=True)) for _, line in numbered]


def _read_table(path: Path, data: Data) -> list[LabelledFile]:
    columns, rows = read_rows(path, data.table)
    wanted = {"data.table.path": data.table.path, "data.table.label": data.table.label}
    wanted |= {f"data.stratify_by[{index}]": name for index, name in enumerate(data.stratify_by)}
    missing = [f"{key}: `{name}`" for key, name in wanted.items() if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column for {'; '.join(missing)}. Its columns: {', '.join(columns)}.")
    return [
        LabelledFile(
            path=(path.parent / row[data.table.path]).absolute(),
            label=_label(row[data.table.label].strip(), data.table, path),
            strata=tuple(row[name] for name in data.stratify_by),
        )
        for row in rows
    ]


def _label(value: str, table: Table, path: Path) -> str:
    if table.classes is None:
        if not value:
            raise DataError(f"{path}: a row has no value in the label column `{table.label}`. Fill it, or remove the row.")
        return value
    try:
        number = float(value)
    except ValueError as error:
        raise DataError(f"{path}: data.table.classes needs numbers in `{table.label}`, but one is {value!r}.") from error
    names = [name for name, interval in table.classes.items() if interval.holds(number)]
    if len(names) != 1:
        found = f"more than one class ({', '.join(names)})" if names else "no class"
        raise DataError(f"{path}: {table.label} = {value} falls into {found} of data.table.classes. Mend the ranges.")
    return names[0]
