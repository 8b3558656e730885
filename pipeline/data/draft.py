"""The draft of a recipe for labelled data, with a comment on every choice."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from pipeline.data.intake import read_labelled, read_rows
from pipeline.errors import DataError, GraftError
from pipeline.files import atomic
from pipeline.modalities.modality import Look, Modality, Proposal
from pipeline.modalities.registry import find_modality, list_modalities
from pipeline.recipe.data import Data, Table
from pipeline.recipe.reading import parse_recipe
from serving.model.inputs.registry import find_kind

log = logging.getLogger("graft")
TEMPLATE = "recipe.yaml.jinja"
LABEL_COLUMNS = ("label", "class", "category", "target", "sentiment", "y")
ROWS_SEEN = 20


@dataclass(frozen=True)
class Found:
    """The findings of ``graft init`` in the data, and the place of the recipe that it wrote.

    Attributes:
        recipe: Path of the recipe.
        modality: Name of the kind of input.
        samples: Number of samples.
        labels: Number of samples of each label, in the order of the labels.
    """

    recipe: Path
    modality: str
    samples: int
    labels: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """Return the findings as JSON."""
        return {
            "recipe": str(self.recipe),
            "modality": self.modality,
            "samples": self.samples,
            "labels": self.labels,
        }

    def to_text(self) -> str:
        """Return the findings as lines of text, which end with the next command."""
        rows = "\n".join(f"  {label:<24}{count}" for label, count in self.labels.items())
        return (
            f"{self.samples} samples ({self.modality}) of {len(self.labels)} labels\n{rows}\n"
            f"wrote {self.recipe}; read it, then: graft run {self.recipe}"
        )


def write_recipe(source: Path, output: Path, *, force: bool) -> Found:
    """Write a recipe for labelled data of the kind that is surest that they are its own.

    Args:
        source: A folder with one subfolder a class, or a CSV file with a header and a column of paths or of
            the samples themselves.
        output: Path of the recipe to write.
        force: Whether a recipe that exists there is overwritten.

    Raises:
        GraftError: There is no such data, it has fewer than two labels, the output exists, or no column looks
            like path, text or label.
    """
    if output.exists() and not force:
        raise GraftError(
            f"{output}: exists already. Choose another with --output, or overwrite it with --force."
        )
    if not source.exists():
        raise GraftError(
            f"{source}: does not exist. Name a folder with one subfolder a class, or a CSV file."
        )
    look = _look_at_folder(source) if source.is_dir() else _look_at_table(source)
    modality, proposal = _guess(look)
    table = proposal.table
    data = Data(source=str(source.absolute()), table=table or Table())
    examples = read_labelled(data, cells=modality.samples_are_cells and table is not None)
    labels = Counter(example.label for example in examples)
    if len(labels) < 2:
        raise DataError(
            f"{source}: holds one label only ({', '.join(labels)}); a classifier needs two. "
            "A folder needs one subfolder a class."
        )
    text = _render(
        modality,
        name=_name(source),
        source=os.path.relpath(source.absolute(), output.absolute().parent),
        table=table,
        labels=sorted(labels.items()),
        samples=len(examples),
        epochs=partial(_epochs, len(examples)),
        **proposal.values,
    )
    parse_recipe(yaml.safe_load(text))  # what is written must load
    atomic.write_bytes(output, text.encode())
    return Found(output, modality.name, len(examples), dict(sorted(labels.items())))


def _look_at_folder(folder: Path) -> Look:
    """Count the suffixes of the files in the subfolders of a folder."""
    return Look(folder, Counter(path.suffix.lower() for path in folder.glob("*/**/*") if path.is_file()))


def _look_at_table(path: Path) -> Look:
    """Read the first rows of a table, and find its column of labels."""
    separator = _guess_separator(path)
    columns, rows = read_rows(path, Table(separator=separator))
    look = Look(path, separator=separator, columns=columns, rows=[row for _, row in rows[:ROWS_SEEN]])
    label = look.pick(LABEL_COLUMNS)
    if label is None:
        raise _no_column(path, columns, LABEL_COLUMNS, "the labels", "data.table.label")
    return replace(look, label=label)


def _guess(look: Look) -> tuple[Modality, Proposal]:
    """Return the kind of input that is surest that the data are its own, and its proposal.

    Of equally sure kinds the first is taken. A kind that cannot be loaded, or fails while it looks, is named
    in the log and left out: the data may well be another's.
    """
    best: tuple[Modality, Proposal] | None = None
    columns: list[str] = []
    for name in list_modalities():
        try:
            modality = find_modality(name)
            proposal = modality.propose(look)
        except Exception as error:  # somebody else's code may raise anything
            log.warning("init: the modality `%s` is not asked: %s", name, error)
            continue
        columns += modality.columns
        if proposal is not None and (best is None or proposal.confidence > best[1].confidence):
            best = modality, proposal
    if best is None:
        raise _no_column(
            look.source,
            look.columns,
            columns,
            "the files' paths or the texts",
            "data.table.path or data.table.text",
        )
    return best


def _render(modality: Modality, **values: Any) -> str:  # noqa: ANN401 - whatever the templates show
    """Return the text of a recipe: the part that all kinds have, and the kind's own after that."""
    # The template is YAML, and every value goes through the filter `yaml`.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["yaml"] = _quoted
    common, kinds_own = (
        environment.from_string(resources.files(package).joinpath(TEMPLATE).read_text("utf-8"))
        for package in ("pipeline.data", modality.room)
    )
    *others, last = list_modalities()
    return common.render(
        values,
        modality=modality.name,
        samples_are_cells=modality.samples_are_cells,
        noun=find_kind(modality.name).noun,
        known=f"{', '.join(others)} or {last}",
        own_part=kinds_own.render(values),
    )


def _guess_separator(path: Path) -> str:
    """Return the separator that is most frequent in a table's first line; a comma where there is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}). "
            "If it is not UTF-8, write the recipe by hand with data.table.encoding."
        ) from error
    return max((",", ";", "\t", "|"), key=header.count)


def _no_column(path: Path, columns: Sequence[str], known: Sequence[str], what: str, key: str) -> DataError:
    """Return the error for a table without a column that looks as wanted.

    Args:
        path: Path of the table.
        columns: Names of the table's columns.
        known: Names that were looked for.
        what: What the column would hold.
        key: Key of the recipe that can name it.
    """
    return DataError(
        f"{path}: no column looks like {what} (its columns: {', '.join(columns)}; "
        f"looked for: {', '.join(known)}). "
        f"Rename it, or write the recipe by hand with {key}."
    )


def _name(source: Path) -> str:
    """Return a name that a recipe may have, made from the name of its data."""
    stem = source.absolute().stem.lower()
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
    return name[:60].strip("-") or "model"


def _epochs(samples: int, least: int) -> int:
    """Return a number of epochs from ``least`` to 20 in which about 5,000 samples are seen.

    Small data needs more passes.
    """
    return max(least, min(20, round(5000 / max(1, samples))))


def _quoted(value: object) -> str:
    """Return a value as JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)
