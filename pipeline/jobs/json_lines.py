"""Tables of one JSON object a line, read from any line on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pipeline.errors import GraftError
from pipeline.jobs.rows import Fragment, Row, identify_file

SEEN = 1000  # lines whose keys are the columns


class JsonLinesSource:
    """A table of one JSON object a line; the columns are the keys of its first thousand objects.

    Args:
        path: Path of the table.

    Raises:
        GraftError: It holds no object.
    """

    holds_paths = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.absolute().parent
        names: dict[str, None] = {}
        with path.open("rb") as file:
            for _, line in zip(range(SEEN), file, strict=False):
                document, _ = _parse(line)
                names |= dict.fromkeys(document or ())
        self.columns = tuple(names)
        self.shown = self.columns
        if not names:
            raise GraftError(
                f"{path}: holds no JSON object in its first {SEEN:,} lines. Write one object a line, not a "
                "list of them, nor one over several lines."
            )

    def places(self) -> Iterator[int]:
        """Yield the byte at which each line begins; empty lines are none."""
        at = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield at
                at += len(line)

    def read(self, fragment: Fragment) -> list[Row]:
        """Return the rows of a fragment; a line that holds no object has a fault."""
        rows: list[Row] = []
        with self.path.open("rb") as file:
            file.seek(fragment.place)
            for line in file:
                if line.strip():
                    document, fault = _parse(line)
                    values = document or {}
                    rows.append(Row(tuple(values.get(name) for name in self.columns), fault))
                if len(rows) == fragment.rows:
                    break
        return rows

    def identity(self) -> str:
        """Return what tells this table from a changed one."""
        return identify_file(self.path)


def _parse(line: bytes) -> tuple[dict[str, object] | None, str | None]:
    """Return the object of a line, or why it holds none."""
    try:
        document = json.loads(line, parse_constant=_refuse)
        json.dumps(document, ensure_ascii=False).encode()  # half of a pair of escapes is no character
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON ({str(error)[:100]})"
    if not isinstance(document, dict):
        return None, "is no JSON object"
    return document, None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
