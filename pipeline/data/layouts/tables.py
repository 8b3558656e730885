"""Tables in a folder: one of all samples, or one a split, as data sets are published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from pipeline.data.layouts.names import split_named
from pipeline.data.layouts.pattern import literal
from pipeline.data.tables.opening import TABLE_SUFFIXES

# Beside pictures a `.json` is an annotation far more often than a table of them all.
IN_FOLDERS: Final = tuple(sorted(TABLE_SUFFIXES - {".json"}))
SHARD: Final = re.compile(r"-\d{3,}-of-\d{3,}$")


@dataclass(frozen=True)
class Tables:
    """Tables that belong together.

    Attributes:
        layout: The pattern that finds them, as the recipe's ``data.layout`` takes it: ``{split}.csv``.
        names: Their paths relative to the folder, with ``/`` between names.
        said: What they are, in a few words.
    """

    layout: str
    names: tuple[str, ...]
    said: str


def is_table(name: str) -> bool:
    """Return whether a file's or a pattern's name ends as those of tables in a folder do."""
    return name.lower().endswith(IN_FOLDERS)


def find_metadata(files: Sequence[str]) -> Tables | None:
    """Return the tables ``metadata.*`` of a Hugging Face folder of pictures; None where there are none.

    Args:
        files: Paths relative to the folder.
    """
    found = [path for path in files if PurePosixPath(path).stem == "metadata" and is_table(path)]
    folders = {PurePosixPath(path).parts[:-1] for path in found}
    if not found or len({PurePosixPath(path).name for path in found}) > 1:
        return None
    name = PurePosixPath(found[0]).name
    if folders == {()}:
        return Tables(name, tuple(found), f"{name} has the labels")
    if all(len(parts) == 1 and split_named(parts[0]) for parts in folders):
        return Tables(f"{{split}}/{name}", tuple(found), f"the folders of the splits have each its {name}")
    return None


def find_tables(files: Sequence[str]) -> Tables | None:
    """Return the tables of a folder that hold the samples; None where there are none, or which is unclear.

    Args:
        files: Paths relative to the folder.
    """
    tables = sorted(path for path in files if is_table(path))
    of_splits = [path for path in tables if _split_of(path)]
    if any(_split_of(path) == "train" for path in of_splits):
        layouts = {_layout_of(path) for path in of_splits}
        if len(layouts) == 1:
            return Tables(layouts.pop(), tuple(of_splits), "each split has a table of its own")
    if len(tables) == 1:
        return Tables(
            "/".join(map(literal, tables[0].split("/"))), tuple(tables), f"{tables[0]} has the labels"
        )
    return None


def _split_of(path: str) -> str | None:
    stem = SHARD.sub("", PurePosixPath(path).stem)
    parts = PurePosixPath(path).parts
    return split_named(stem) or (split_named(parts[-2]) if len(parts) > 1 else None)


def _layout_of(path: str) -> str:
    """Return the pattern of the table of a split: its name, with a place for the split."""
    pure = PurePosixPath(path)
    folders, stem = pure.parts[:-1], SHARD.sub("", pure.stem)
    shards = "-*" if SHARD.search(pure.stem) else ""
    if split_named(stem):
        words = re.split(r"(?<=[\W_])|(?=[\W_])", stem)
        named = [each for each in words if split_named(each)]
        name = (
            "".join("{split}" if each == named[0] else each for each in words)
            if len(named) == 1
            else "{split}"
        )
        return "/".join([*map(literal, folders), f"{name}{shards}{pure.suffix}"])
    return "/".join([*map(literal, folders[:-1]), "{split}", f"*{pure.suffix}"])
