"""The text of a new recipe: the part that all kinds have, and the kind's own after that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources

from jinja2 import Environment, StrictUndefined

from pipeline.data.draft.look import Wishes
from pipeline.data.draft.understood import Understood
from pipeline.modalities.modality import Modality
from pipeline.modalities.registry import list_modalities
from pipeline.reporting.printable import printable
from serving.model.inputs.registry import find_kind

TEMPLATE = "recipe.yaml.jinja"
MOST_COUNTED = 50


@dataclass(frozen=True)
class Draft:
    """What a new recipe says.

    Attributes:
        name: Name of the recipe.
        source: The data's place, as the recipe writes it.
        root: Folder that the paths of a table count from, as the recipe writes it; None for the table's own.
        understood: How the data are read.
        labels: Each label with the number of its samples.
        samples: Number of samples.
        longest: Number of characters of the longest text of a table.
        wishes: What the user says, of the backbone too.
        values: What the kind's own part is filled in with besides.
    """

    name: str
    source: str
    root: str | None
    understood: Understood
    labels: Sequence[tuple[str, int]]
    samples: int
    longest: int
    wishes: Wishes
    values: Mapping[str, object]


def render(modality: Modality, draft: Draft) -> str:
    """Return the text of a recipe.

    Args:
        modality: The kind of input.
        draft: What the recipe says.
    """
    # The template is YAML, and every value goes through the filter `yaml`.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"yaml": yaml_of, "comment": printable}
    common, kinds_own = (
        environment.from_string(resources.files(package).joinpath(TEMPLATE).read_text("utf-8"))
        for package in ("pipeline.data.draft", modality.room)
    )
    shared = {field.name: getattr(draft, field.name) for field in fields(draft)}
    *others, last = list_modalities()
    return common.render(
        shared,
        labels=draft.labels[:MOST_COUNTED],
        more=max(0, len(draft.labels) - MOST_COUNTED),
        data=draft.understood.data,
        modality=modality.name,
        noun=find_kind(modality.name).noun,
        known=f"{', '.join(others)} or {last}",
        own_part=kinds_own.render(shared, **draft.values),
    )


def yaml_of(value: object) -> str:
    """Return a value as JSON in printable characters, with YAML's escapes for all others.

    JSON's own escapes of characters beyond 16 bits are pairs, which YAML reads as two characters.
    """
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)
