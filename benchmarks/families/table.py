"""The tables of families in the documentation, which are written by the run and read by a test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import cast

from benchmarks.families.row import Row

PACKAGES = {"pictures": ("timm", "torch"), "texts": ("transformers", "torch")}
TITLES = {
    "pictures": "# Families of networks of pictures\n\n"
    "The smallest network of each module of timm, and some others, with random weights.",
    "texts": "# Families of encoders of texts\n\n"
    "One of each kind of encoder of transformers, small, with random weights.",
}
LINE = re.compile(
    r"^\| `(?P<family>[^`]+)` \|.* (?P<outcome>\w+) \| (?P<seconds>[\d.]+) \| (?P<reason>.*) \|$"
)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a table; none where there is no such file."""
    if not path.is_file():
        return []
    lines = (LINE.match(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        Row(
            found["family"],
            cast("object", found["outcome"]),  # type: ignore[arg-type]
            float(found["seconds"]),
            found["reason"].replace("\\|", "|"),
        )
        for found in lines
        if found
    ]


def write_table(path: Path, kind: str, rows: Sequence[Row], notes: Mapping[str, tuple[str, str]]) -> None:
    """Write the page of a table.

    Args:
        path: The page, which is replaced.
        kind: ``pictures`` or ``texts``.
        rows: The rows, in their order.
        notes: Module and number of parameters of each family, by its name; empty where nothing is said.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES[kind])
    passed, refused = (sum(row.outcome == outcome for row in rows) for outcome in ("passes", "refused"))
    header = (
        "| family | module | parameters | outcome | seconds | reason |"
        if notes
        else ("| family | outcome | seconds | reason |")
    )
    lines = [
        TITLES[kind],
        f"\nMade by `python benchmarks/backbones.py {kind} --write` with {versions}, on one thread.\n"
        "Seconds are the processor's.\n"
        "A family that passes was loaded, trained for a step, rebuilt from the checkpoint's card, tried and\n"
        "exported, and the export agrees with torch. One that is refused was refused before any training,\n"
        "for the reason given."
        f"\n\n{passed} pass, {refused} are refused.\n",
        header,
        re.sub(r"[^|]+", " --- ", header),
    ]
    for row in rows:
        described = "".join(f" {note} |" for note in notes.get(row.family, ()))
        reason = " ".join(row.reason.split()).replace("|", "\\|")[:400]
        lines.append(f"| `{row.family}` |{described} {row.outcome} | {row.seconds:.1f} | {reason} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
