"""Columns of Arrow, as Parquet files and data sets of Hugging Face hold them, as cells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.data.tables.rows import Cell, shown
from pipeline.errors import DataError

ROWS_AT_ONCE = 4096
FILES_AT_ONCE = 64  # rows with embedded files, such as pictures
HUGGING_FACE = b"huggingface"


@dataclass(frozen=True)
class Column:
    """A column that holds one value a row.

    Attributes:
        name: Name of the column.
        convert: Makes cells of an array of its values.
        holds_files: Whether its values are bytes, such as pictures.
    """

    name: str
    convert: Callable[[Any], list[Cell]]
    holds_files: bool = False


def plan_columns(schema: Any, source: str) -> tuple[tuple[Column, ...], dict[str, str]]:  # noqa: ANN401
    """Return the columns that hold one value a row, and those that do not with what they hold.

    Args:
        schema: The schema of Arrow. Its metadata may name the classes of a column, as Hugging Face writes it.
        source: Name of the table, for errors.
    """
    names = _class_names(schema.metadata or {})
    columns, nested = [], {}
    for field in schema:
        if field.name in names:
            convert = _class_converter(names[field.name], f"{source}: the column {shown(field.name)}")
            columns.append(Column(field.name, convert))
        elif (column := _plan_column(field.name, field.type)) is not None:
            columns.append(column)
        else:
            nested[field.name] = f"type {shown(str(field.type))}"
    return tuple(columns), nested


def rows_at_once(columns: tuple[Column, ...]) -> int:
    """Return the number of rows of a batch that keeps the memory small."""
    return FILES_AT_ONCE if any(column.holds_files for column in columns) else ROWS_AT_ONCE


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes of each column that has some."""
    try:
        features = json.loads(metadata.get(HUGGING_FACE, b"{}"))["info"]["features"]
        items = features.items()
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
    return {
        name: [str(label) for label in feature["names"]]
        for name, feature in items
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _class_converter(names: list[str], where: str) -> Callable[[Any], list[Cell]]:
    def name_of(value: int | None) -> Cell:
        if value is None or value == -1:  # how Hugging Face writes that there is no label
            return None
        if not 0 <= value < len(names):
            raise DataError(
                f"{where} holds the class {value}, but names only {len(names)} classes. "
                "Mend the table, or write the names of the classes to it."
            )
        return names[value]

    return lambda array: [name_of(value) for value in array.to_pylist()]


def _plan_column(name: str, kind: Any) -> Column | None:  # noqa: ANN401
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _plan_column(name, kind.value_type)
    if _is_binary(kind):
        return Column(name, lambda array: list(array.to_pylist()), holds_files=True)
    if types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}:
        if _is_binary(kind.field("bytes").type):
            return Column(name, _convert_files, holds_files=True)
        return None
    if types.is_float16(kind) or types.is_float32(kind):
        return Column(name, _convert_short_floats)
    if types.is_timestamp(kind):
        return Column(name, _convert_timestamps)
    plain = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_float64,
        types.is_boolean, types.is_decimal, types.is_date, types.is_time, types.is_null,
    )  # fmt: skip
    return Column(name, _convert_plain) if any(fits(kind) for fits in plain) else None


def _is_binary(kind: Any) -> bool:  # noqa: ANN401
    import pyarrow.types as types

    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _convert_plain(array: Any) -> list[Cell]:  # noqa: ANN401
    return [_to_text(value) for value in array.to_pylist()]


def _to_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)


def _convert_short_floats(array: Any) -> list[Cell]:  # noqa: ANN401
    """Write a number with as many digits as its own precision has: 0.1, not 0.10000000149011612."""
    import numpy as np

    kind = np.float16 if str(array.type) == "halffloat" else np.float32
    return [None if value is None else str(kind(value)) for value in array.to_pylist()]


def _convert_timestamps(array: Any) -> list[Cell]:  # noqa: ANN401
    import pyarrow as pa

    return _convert_plain(array.cast(pa.timestamp("us", tz=array.type.tz), safe=False))


def _convert_files(array: Any) -> list[Cell]:  # noqa: ANN401
    """Return embedded bytes, and where there are none the path of the file."""
    return [
        None if value is None else value["bytes"] if value["bytes"] is not None else value["path"]
        for value in array.to_pylist()
    ]
