"""Tables of JSON: one object a line, or a list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from pipeline.data.tables.encodings import find_encoding, read_lines
from pipeline.data.tables.rows import Cell, Row, Rows, check_names, shown
from pipeline.errors import DataError

SPACE = " \t\r\n"
LINES_AT_ONCE = 10_000


@dataclass(frozen=True)
class _JsonRows:
    """The rows of a file of JSON; each pass reads the file anew."""

    path: Path
    encoding: str
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[Row]:
        for line, document in _read_objects(self.path, self.encoding):
            yield Row(line, tuple(_to_cell(document.get(name)) for name in self.columns))


def open_json(path: Path, encoding: str = "auto") -> Rows:
    """Open a table of JSON objects; a key that an object does not have is a missing value.

    Args:
        path: Path of the file: one object a line, or one list of objects.
        encoding: Python's name of its encoding, or ``auto``.

    Raises:
        DataError: The file cannot be read, is no JSON, or holds something other than objects.
    """
    encoding = find_encoding(path, encoding)
    names: dict[str, None] = {}
    nested: dict[str, str] = {}
    total = 0
    for line, document in _read_objects(path, encoding):
        total += 1
        for name, value in document.items():
            names[name] = None
            if isinstance(value, dict | list) and name not in nested:
                kind = "an object" if isinstance(value, dict) else "a list"
                nested[name] = f"line {line}: {kind}"
    if not total:
        raise DataError(f"{path}: the table is empty.")
    check_names(path, tuple(names), "Rename the keys.")
    columns = tuple(name for name in names if name not in nested)
    return Rows(str(path), columns, _JsonRows(path, encoding, columns), total, nested)


def _read_objects(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield each object with the line at which it begins."""
    values = _read_list(path, encoding) if _is_list(path, encoding) else _read_json_lines(path, encoding)
    for line, value in values:
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, line {line}: a row is no JSON object. Write each row as an object, such as "
                '{"text": "…", "label": "…"}'
            )
        yield line, value


def _is_list(path: Path, encoding: str) -> bool:
    return next((line.lstrip() for line in read_lines(path, encoding) if line.strip()), "").startswith("[")


def _read_json_lines(path: Path, encoding: str) -> Iterator[tuple[int, object]]:
    decoder = _decoder()
    for number, line in enumerate(read_lines(path, encoding), 1):
        if text := line.strip(SPACE):
            try:
                value = decoder.decode(text)
            except json.JSONDecodeError as error:
                raise _fault(path, number, error.msg, error.colno) from error
            except (ValueError, RecursionError) as error:
                raise _fault(path, number, str(error)) from error
            yield number, _check_surrogates(value, text, path, number)


def _read_list(path: Path, encoding: str) -> Iterator[tuple[int, object]]:
    """Yield the items of a list, each with the line at which it begins."""
    text = _JsonText(path, read_lines(path, encoding))
    text.take("[")
    if text.peek() == "]":
        return
    while True:
        yield text.decode()
        if text.take(",]") == "]":
            break
    if text.peek():
        raise _fault(path, text.line, "something stands after the list")


class _JsonText:
    """The text of a list, of which a part is held: an item is decoded once all of it has been read."""

    def __init__(self, path: Path, lines: Iterator[str]) -> None:
        self.line = 1  # of the place that is read next
        self._path, self._lines, self._decoder = path, lines, _decoder()
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """Return the next character that is no space; nothing at the end."""
        while True:
            start = self._at
            while self._at < len(self._text) and self._text[self._at] in SPACE:
                self._at += 1
            self.line += self._text.count("\n", start, self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def take(self, expected: str) -> str:
        """Return the next character that is no space, which must be one of those that are expected."""
        mark = self.peek()
        if not mark or mark not in expected:
            what = f"{shown(mark)} stands where" if mark else "the file ends where"
            raise _fault(self._path, self.line, f"{what} one of {shown(expected)} is expected")
        self._at += 1
        return mark

    def decode(self) -> tuple[int, object]:
        """Return the next value, with the line at which it begins."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise _fault(self._path, line, error.msg) from error
                self._fill()
                continue
            except (ValueError, RecursionError) as error:
                raise _fault(self._path, self.line, str(error)) from error
            if end < len(self._text) or self._ended:  # else a number may go on
                break
            self._fill()
        begins, text = self.line, self._text[self._at : end]
        self.line += text.count("\n")
        self._at = end
        return begins, _check_surrogates(value, text, self._path, begins)

    def _fill(self) -> None:
        more = "".join(islice(self._lines, LINES_AT_ONCE))
        self._text, self._at, self._ended = self._text[self._at :] + more, 0, not more


def _decoder() -> json.JSONDecoder:
    """Return a decoder that keeps numbers as they are written."""
    return json.JSONDecoder(
        parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_to_dict
    )


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value; write null for a missing one")


def _to_dict(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {shown(twice)} more than once")
    return document


def _check_surrogates(value: object, text: str, path: Path, line: int) -> object:
    """Return a value, all of whose texts can be written: half of a pair of escapes is no character."""
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _fault(path, line, "an escape is half a character (a lone surrogate)") from error
    return value


def _fault(path: Path, line: int, what: str, column: int | None = None) -> DataError:
    place = f"line {line}" if column is None else f"line {line}, column {column}"
    return DataError(f"{path}, {place}: this is not a table of JSON ({what}). Mend the line.")


def _to_cell(value: object) -> Cell:
    if isinstance(value, bool):
        return "true" if value else "false"
    return cast("str | None", value)  # numbers are decoded as their text
