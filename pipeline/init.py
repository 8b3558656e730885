"""Look at labelled data and write a recipe for it, with a comment on every choice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import atomic
from pipeline.data.intake import read_labelled_files, read_rows
from pipeline.errors import DataError, GraftError
from pipeline.recipe import Data, Recipe, Table

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
LABEL_COLUMNS = ("label", "class", "category", "target", "y")


@dataclass(frozen=True)
class Found:
    """What the data holds, and where the recipe was written."""

    recipe: Path
    samples: int
    labels: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON."""
        return {"recipe": str(self.recipe), "samples": self.samples, "labels": self.labels}

    def to_text(self) -> str:
        """The findings as lines."""
        rows = "\n".join(f"  {label:<24}{count}" for label, count in self.labels.items())
        return f"{self.samples} samples of {len(self.labels)} labels\n{rows}\nwrote {self.recipe}; read it, then: graft run {self.recipe}"


def write_recipe(source: Path, output: Path, *, force: bool) -> Found:
    """Write a recipe for labelled data.

    Args:
        source: A folder with one subfolder a class, or a CSV file with a header.
        output: The recipe to write.
        force: Overwrite it.

    Raises:
        GraftError: There is no such data, the output exists, or no column looks like path or label.
    """
    if output.exists() and not force:
        raise GraftError(f"{output}: exists already. Choose another with --output, or overwrite it with --force.")
    if not source.exists():
        raise GraftError(f"{source}: does not exist. Name a folder with one subfolder a class, or a CSV file.")
    table = None if source.is_dir() else _guess_table(source)
    files = read_labelled_files(Data(source=str(source.absolute()), table=table or Table()))
    labels = Counter(file.label for file in files)
    if len(labels) < 2:
        raise DataError(
            f"{source}: holds one label only ({', '.join(labels)}); a classifier needs two. A folder needs one subfolder a class."
        )
    environment = Environment(  # noqa: S701 - the template is YAML, and every value goes through the filter `yaml`
        loader=PackageLoader("pipeline", "."), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    environment.filters["yaml"] = _quoted
    text = environment.get_template("recipe.yaml.jinja").render(
        name=_name(source),
        source=os.path.relpath(source.absolute(), output.absolute().parent),
        table=table,
        labels=sorted(labels.items()),
        samples=len(files),
        epochs=_epochs(len(files)),
    )
    Recipe.model_validate(yaml.safe_load(text))  # what is written must load
    atomic.write_bytes(output, text.encode())
    return Found(output, len(files), dict(sorted(labels.items())))


def _guess_table(path: Path) -> Table:
    separator = _guess_separator(path)
    columns, _ = read_rows(path, Table(separator=separator))
    return Table(
        separator=separator,
        path=_pick(columns, PATH_COLUMNS, path, "path", "the files' paths"),
        label=_pick(columns, LABEL_COLUMNS, path, "label", "the labels"),
    )


def _guess_separator(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}).") from error
    return max((",", ";", "\t", "|"), key=header.count)


def _pick(columns: Sequence[str], known: Sequence[str], path: Path, key: str, what: str) -> str:
    for column in columns:
        if column.strip().lower() in known:
            return column
    raise DataError(
        f"{path}: no column looks like {what} (its columns: {', '.join(columns)}; looked for: {', '.join(known)}). "
        f"Rename it, or write the recipe by hand with data.table.{key}."
    )


def _name(source: Path) -> str:
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in source.absolute().stem.lower()).strip("-")
    return letters[:60].strip("-") or "model"


def _epochs(samples: int) -> int:
    """Small data needs more passes: about 5,000 pictures seen, between 3 and 20 epochs."""
    return max(3, min(20, round(5000 / max(1, samples))))


def _quoted(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
