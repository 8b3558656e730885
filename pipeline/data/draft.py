"""Look at labelled data and write a recipe for it, with a comment on every choice."""

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
from pipeline.recipe.reading import parse_recipe
from pipeline.recipe.sections import Data, Table
from serving.model.inputs.registry import find_kind

log = logging.getLogger("graft")
TEMPLATE = "recipe.yaml.jinja"
LABEL_COLUMNS = ("label", "class", "category", "target", "sentiment", "y")
ROWS_SEEN = 20


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
    """Write a recipe for labelled data of the kind that is surest that they are its own.

    Args:
        source: A folder with one subfolder a class, or a CSV file with a header and a column of paths or of
            the samples themselves.
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
    return Look(folder, Counter(path.suffix.lower() for path in folder.glob("*/**/*") if path.is_file()))


def _look_at_table(path: Path) -> Look:
    separator = _guess_separator(path)
    columns, rows = read_rows(path, Table(separator=separator))
    look = Look(path, separator=separator, columns=columns, rows=[row for _, row in rows[:ROWS_SEEN]])
    label = look.pick(LABEL_COLUMNS)
    if label is None:
        raise _no_column(path, columns, LABEL_COLUMNS, "the labels", "data.table.label")
    return replace(look, label=label)


def _guess(look: Look) -> tuple[Modality, Proposal]:
    """The kind that is surest, the first of equals, and its proposal.

    A kind that cannot be loaded, or fails while it looks, is named in the log and left out: the data may well
    be another's.
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
    """The recipe of a kind: the part that all have, and its own after that."""
    # The template is YAML, and every value goes through the filter `yaml`.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["yaml"] = _quoted
    common, own = (
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
        own_part=own.render(values),
    )


def _guess_separator(path: Path) -> str:
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
    return DataError(
        f"{path}: no column looks like {what} (its columns: {', '.join(columns)}; "
        f"looked for: {', '.join(known)}). "
        f"Rename it, or write the recipe by hand with {key}."
    )


def _name(source: Path) -> str:
    letters = "".join(
        c if c.isascii() and c.isalnum() else "-" for c in source.absolute().stem.lower()
    ).strip("-")
    return letters[:60].strip("-") or "model"


def _epochs(samples: int, least: int) -> int:
    """Small data needs more passes: about 5,000 samples seen, in ``least`` to 20 epochs."""
    return max(least, min(20, round(5000 / max(1, samples))))


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
