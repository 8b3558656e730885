"""The encoding of a table of text: found by its byte-order mark, checked, and never guessed in silence."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DataError

CHUNK_BYTES = 1 << 16
MARKS = (  # UTF-32 stands first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MARK = "\ufeff"


def find_encoding(path: Path, encoding: str = "auto") -> str:
    """Return the name of the encoding that a file is read in: the one given, that of its mark, or UTF-8.

    Args:
        path: Path of the file.
        encoding: Python's name of an encoding, or ``auto``.

    Raises:
        DataError: The file cannot be opened, or there is no encoding of that name.
    """
    if encoding == "auto":
        start = read_start(path, 4)
        return next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
    try:
        "a".encode(encoding)  # an empty text would not be looked at
    except LookupError as error:
        raise DataError(
            f"data.table.encoding: {error}. Take one of Python's text encodings, such as utf-8 or cp1252."
        ) from error
    return encoding


def guess_encoding(path: Path) -> str:
    """Return the encoding that a file most likely has; a guess that a person should confirm.

    A file with a byte-order mark or in UTF-8 has these. Of others, a file with zero bytes at every other
    place is UTF-16, one whose bytes all have a meaning in cp1252 is that, and any other one is Latin-1.

    Raises:
        DataError: The file cannot be opened.
    """
    encoding = find_encoding(path)
    start = read_start(path, CHUNK_BYTES)
    if encoding == "utf-8" and b"\0" in start:
        odd, even = start[1::2].count(0), start[::2].count(0)
        return "utf-16-le" if odd > even else "utf-16-be"
    for name in (encoding, "cp1252"):
        if _find_fault(path, name) is None:
            return name
    return "latin-1"


def read_start(path: Path, size: int) -> bytes:
    """Return the first bytes of a file.

    Args:
        path: Path of the file.
        size: The most bytes to return.

    Raises:
        DataError: The file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def read_lines(path: Path, encoding: str) -> Iterator[str]:
    r"""Yield the lines of a file with their ends (``\n``, ``\r\n`` or ``\r``), without a byte-order mark.

    Args:
        path: Path of the file.
        encoding: Python's name of its encoding.

    Raises:
        DataError: The file cannot be opened, a byte has no meaning in the encoding, or a character is NUL.
    """
    try:
        with path.open(encoding=encoding, newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(
                        f"{path}, line {number}: holds a NUL character. Remove it; or, if the file is UTF-16 "
                        "without a byte-order mark, set data.table.encoding: utf-16-le"
                    )
                yield line.removeprefix(MARK) if number == 1 else line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeError as error:
        raise DataError(_describe_fault(path, encoding, error)) from error


def _describe_fault(path: Path, encoding: str, error: UnicodeError) -> str:
    line, value = _find_fault(path, encoding) or (1, str(error))
    return (
        f"{path}, line {line}: {value} is not {encoding}. Set data.table.encoding to the encoding of the "
        "file, such as data.table.encoding: cp1252 for what Windows programs call ANSI, or save it as UTF-8."
    )


def _find_fault(path: Path, encoding: str) -> tuple[int, str] | None:
    """Return the line of the first byte without a meaning, and the byte; None where all have one."""
    decoder, line, last = codecs.getincrementaldecoder(encoding)(), 1, ""
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, errors="replace")
                return line + _count_ends(last + before), f"the byte 0x{error.object[error.start]:02x}"
            except UnicodeError as error:  # UTF-16 and UTF-32 without a byte-order mark
                return line, f"the file ({error})"
            if not chunk:
                return None
            line += _count_ends(last + text)
            last = "\r" if text.endswith("\r") else ""
            line -= bool(last)


def _count_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
