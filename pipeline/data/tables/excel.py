"""Tables in Excel files."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.tables.rows import MOST_LISTED, Row, Rows, check_names, explain_ragged, shown
from pipeline.errors import DataError
from pipeline.machine.extras import require

log = logging.getLogger("graft")


@dataclass(frozen=True)
class _ExcelRows:
    """The rows of the first sheet; each pass reads the file anew."""

    path: Path
    columns: tuple[str, ...]
    has_header: bool

    def __iter__(self) -> Iterator[Row]:
        width, header, count = len(self.columns), self.has_header, 0
        ragged: list[str] = []
        for number, cells in _read_sheet(self.path):
            if header:
                header = False
            elif len(cells) <= width:
                yield Row(number, (*cells, *[None] * (width - len(cells))))
            else:
                count += 1
                ragged += [f"row {number}: {len(cells)} values"] if len(ragged) < MOST_LISTED else []
        if count:
            raise DataError(explain_ragged(self.path, self.columns, ragged, count))


def open_excel(path: Path, columns: tuple[str, ...] | None = None) -> Rows:
    """Open the first sheet of an Excel file; the log names it where there are several.

    Args:
        path: Path of the file.
        columns: Names of the columns where the sheet has no row of names; None where it has.

    Raises:
        GraftError: openpyxl is not installed.
        DataError: The file cannot be read as a workbook, is empty, or its names of columns are faulty.
    """
    require("openpyxl")
    header = columns or next((tuple(cell or "" for cell in cells) for _, cells in _read_sheet(path)), None)
    if header is None:
        raise DataError(f"{path}: the first sheet is empty. Move the table to the first sheet.")
    remedy = (
        "Rename them in the first row, or, if that row is a sample, name the columns as data.table.columns."
    )
    names = check_names(path, header, remedy)
    with _open(path) as workbook:
        sheets = [sheet.title for sheet in workbook.worksheets]
    if len(sheets) > 1:
        log.warning("%s: of %d sheets the first is read: %s", path, len(sheets), shown(sheets[0]))
    return Rows(str(path), names, _ExcelRows(path, names, columns is None))


def _read_sheet(path: Path) -> Iterator[tuple[int, list[str | None]]]:
    """Yield the cells of each row that is not empty, up to the last that is filled, with its number."""
    with _open(path) as workbook:
        sheet = workbook.worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
            cells = [_to_cell(value) for value in values]
            while cells and cells[-1] is None:
                cells.pop()
            if cells:
                yield number, cells


def _to_cell(value: object) -> str | None:
    """Return what a cell shows: whole numbers without a point, dates as ISO 8601 writes them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dt.datetime) and value.time() == dt.time.min:
        return value.date().isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a workbook for streaming, and explain what openpyxl raises while it is read."""
    import openpyxl

    workbook = None
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        yield workbook
    except DataError:
        raise
    except Exception as error:  # a broken archive raises errors of zip, XML and openpyxl
        raise DataError(
            f"{path}: cannot be read as an Excel file ({type(error).__name__}). "
            "Open it in Excel and save it again as .xlsx, or as CSV UTF-8."
        ) from error
    finally:
        if workbook is not None:
            workbook.close()
