"""The draft of a recipe for labelled data, with a comment on every choice."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pipeline.data.draft.kind import choose_kind
from pipeline.data.draft.look import Wishes
from pipeline.data.draft.render import Draft, render
from pipeline.data.draft.understood import settle_labels, understand_data, with_labels
from pipeline.data.intake import read_labelled
from pipeline.errors import DataError, GraftError
from pipeline.files import atomic
from pipeline.files.sources import HUB
from pipeline.recipe.reading import parse_recipe
from pipeline.reporting.printable import printable

MOST_SHOWN = 30


@dataclass(frozen=True)
class Found:
    """The findings of ``graft init`` in the data, and the place of the recipe that it wrote.

    Attributes:
        recipe: Path of the recipe.
        modality: Name of the kind of input.
        samples: Number of samples.
        labels: Number of samples of each label, in the order of the labels.
        understood: How the data are read and what is left out, one sentence each.
    """

    recipe: Path
    modality: str
    samples: int
    labels: dict[str, int]
    understood: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the findings as JSON."""
        return {
            "recipe": str(self.recipe),
            "modality": self.modality,
            "samples": self.samples,
            "labels": self.labels,
            "understood": list(self.understood),
        }

    def to_text(self) -> str:
        """Return the findings as lines of text, which end with the next command."""
        shown = list(self.labels.items())[:MOST_SHOWN]
        rows = "\n".join(f"  {printable(label, 40):<24} {count}" for label, count in shown)
        more = f"\n  … and {len(self.labels) - MOST_SHOWN} more" if len(self.labels) > MOST_SHOWN else ""
        told = "".join(f"\n{each}" for each in self.understood)
        return (
            f"{self.samples} samples ({self.modality}) of {len(self.labels)} labels\n{rows}{more}{told}\n"
            f"wrote {self.recipe}; read it, then: graft run {self.recipe}"
        )


def write_recipe(source: str, output: Path, wishes: Wishes, *, force: bool) -> Found:
    """Write a recipe for labelled data of the kind that is surest that they are its own.

    Args:
        source: A folder, a table, or ``hub:NAME``, as the recipe's ``data.source`` takes it.
        output: Path of the recipe to write.
        wishes: What the user says of the data; the rest is found.
        force: Whether a recipe that exists there is overwritten.

    Raises:
        GraftError: There is no such data, it has fewer than two labels, the output exists, or nothing looks
            like samples or labels; the message names the option that helps.
    """
    _refuse_places(source, output, force=force)
    located = source if source.startswith(HUB) else str(Path(source).absolute())
    modality, seen, proposal = choose_kind(located, wishes)
    understood = understand_data(located, modality, seen, proposal, wishes)
    intake = read_labelled(understood.data, modality, judge=False)
    labels = settle_labels(Counter(example.label for example in intake.examples))
    understood = with_labels(understood, labels, intake)
    counts = Counter(labels.rename.get(example.label, example.label) for example in intake.examples)
    if len(counts) < 2:
        raise DataError(
            f"{source}: holds one label only ({', '.join(map(printable, counts))}); a classifier needs two. "
            "A folder needs one subfolder a class; for a table, --label names the column."
        )
    if warning := modality.warn_of_labels(sorted(counts)):
        understood = replace(understood, remarks=(*understood.remarks, warning))
    draft = Draft(
        name=_name(source),
        source=located if source.startswith(HUB) else _relative(located, output),
        root=_relative(understood.data.root, output) if understood.data.root else None,
        understood=understood,
        labels=sorted(counts.items()),
        samples=len(intake.examples),
        longest=max((len(example.text or "") for example in intake.examples), default=0),
        wishes=wishes,
        values=proposal.values,
    )
    text = render(modality, draft)
    parse_recipe(yaml.safe_load(text))  # what is written must load
    atomic.write_bytes(output, text.encode())
    told = (*understood.remarks, *intake.remarks)
    return Found(output, modality.name, len(intake.examples), dict(sorted(counts.items())), told)


def _refuse_places(source: str, output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise GraftError(
            f"{output}: exists already. Choose another with --output, or overwrite it with --force."
        )
    if not source.startswith(HUB) and not os.path.exists(source):  # noqa: PTH110 - names may be impossible
        raise GraftError(
            f"{printable(source)}: does not exist. "
            "Name a folder with one subfolder a class, a table, or hub:NAME."
        )


def _relative(source: str, output: Path) -> str:
    return os.path.relpath(source, output.absolute().parent)


def _name(source: str) -> str:
    """Return a name that a recipe may have, made from the name of its data."""
    stem = Path(source.removeprefix(HUB)).absolute().stem.lower()
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
    return name[:60].strip("-") or "model"
