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

from pipeline.data.intake import read_labelled, read_rows
from pipeline.errors import DataError, GraftError
from pipeline.files import atomic
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.sections import Data, Table

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "filepath")
TEXT_COLUMNS = ("text", "sentence", "content", "message", "tweet", "review", "body")
LABEL_COLUMNS = ("label", "class", "category", "target", "sentiment", "y")
TEXT_SUFFIXES = (".txt", ".text", ".md")


@dataclass(frozen=True)
class Found:
    """What the data holds, and where the recipe was written."""

    recipe: Path
    modality: str
    samples: int
    labels: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON."""
        return {
            "recipe": str(self.recipe),
            "modality": self.modality,
            "samples": self.samples,
            "labels": self.labels,
        }

    def to_text(self) -> str:
        """The findings as lines."""
        rows = "\n".join(f"  {label:<24}{count}" for label, count in self.labels.items())
        return (
            f"{self.samples} samples ({self.modality}) of {len(self.labels)} labels\n{rows}\n"
            f"wrote {self.recipe}; read it, then: graft run {self.recipe}"
        )


def write_recipe(source: Path, output: Path, *, force: bool) -> Found:
    """Write a recipe for labelled data: pictures, or texts.

    Args:
        source: A folder with one subfolder a class, or a CSV file with a header and a column of paths or of
            texts.
        output: The recipe to write.
        force: Overwrite it.

    Raises:
        GraftError: There is no such data, the output exists, or no column looks like path, text or label.
    """
    if output.exists() and not force:
        raise GraftError(
            f"{output}: exists already. Choose another with --output, or overwrite it with --force."
        )
    if not source.exists():
        raise GraftError(
            f"{source}: does not exist. Name a folder with one subfolder a class, or a CSV file."
        )
    table, modality = (None, _guess_folder(source)) if source.is_dir() else _guess_table(source)
    examples = read_labelled(
        Data(source=str(source.absolute()), table=table or Table()),
        texts=modality == "text" and table is not None,
    )
    labels = Counter(example.label for example in examples)
    if len(labels) < 2:
        raise DataError(
            f"{source}: holds one label only ({', '.join(labels)}); a classifier needs two. A folder needs one subfolder a class."
        )
    environment = Environment(  # noqa: S701 - the template is YAML, and every value goes through the filter `yaml`
        loader=PackageLoader("pipeline.data", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["yaml"] = _quoted
    text = environment.get_template("recipe.yaml.jinja").render(
        modality=modality,
        name=_name(source),
        source=os.path.relpath(source.absolute(), output.absolute().parent),
        table=table,
        labels=sorted(labels.items()),
        samples=len(examples),
        epochs=_epochs(len(examples), modality),
    )
    parse_recipe(yaml.safe_load(text))  # what is written must load
    atomic.write_bytes(output, text.encode())
    return Found(output, modality, len(examples), dict(sorted(labels.items())))


def _guess_folder(folder: Path) -> str:
    """Texts when most of its files are called so."""
    kinds = Counter(path.suffix.lower() in TEXT_SUFFIXES for path in folder.glob("*/**/*") if path.is_file())
    return "text" if kinds[True] > kinds[False] else "image"


def _guess_table(path: Path) -> tuple[Table, str]:
    separator = _guess_separator(path)
    columns, _ = read_rows(path, Table(separator=separator))
    label = _pick(columns, LABEL_COLUMNS)
    place, text = _pick(columns, PATH_COLUMNS), _pick(columns, TEXT_COLUMNS)
    if label is None:
        raise _no_column(path, columns, LABEL_COLUMNS, "the labels", "data.table.label")
    if place is not None:
        return Table(separator=separator, path=place, label=label), "image"
    if text is not None:
        return Table(separator=separator, text=text, label=label), "text"
    raise _no_column(
        path,
        columns,
        PATH_COLUMNS + TEXT_COLUMNS,
        "the files' paths or the texts",
        "data.table.path or data.table.text",
    )


def _guess_separator(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}). If it is not UTF-8, write the recipe by hand with data.table.encoding."
        ) from error
    return max((",", ";", "\t", "|"), key=header.count)


def _pick(columns: Sequence[str], known: Sequence[str]) -> str | None:
    return next((column for name in known for column in columns if column.strip().lower() == name), None)


def _no_column(path: Path, columns: Sequence[str], known: Sequence[str], what: str, key: str) -> DataError:
    return DataError(
        f"{path}: no column looks like {what} (its columns: {', '.join(columns)}; looked for: {', '.join(known)}). "
        f"Rename it, or write the recipe by hand with {key}."
    )


def _name(source: Path) -> str:
    letters = "".join(
        c if c.isascii() and c.isalnum() else "-" for c in source.absolute().stem.lower()
    ).strip("-")
    return letters[:60].strip("-") or "model"


def _epochs(samples: int, modality: str) -> int:
    """Small data needs more passes: about 5,000 samples seen; pictures at least 3 times and texts at least once, at most 20 times."""
    return max(1 if modality == "text" else 3, min(20, round(5000 / max(1, samples))))


def _quoted(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
