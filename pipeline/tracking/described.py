"""What trackers show of a run besides its events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue

from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import hash_recipe, section_json, without_places
from pipeline.recipe.sections import Recipe

Choice = str | int | float | bool
NOT_OF_THE_RUN = frozenset({"search", "tracking"})
"""Sections that nothing in a run is made with: who is told of it, and a search, which makes other runs."""


@dataclass(frozen=True)
class Described:
    """A run, as trackers describe it.

    Attributes:
        name: The run's name.
        folder: The run's folder.
        choices: Every choice of the recipe, by its dotted key, but for where it is tracked and the search.
        choices_sha256: Hash, in hexadecimal, of all these choices but the places of files.
        recipe_sha256: Hash, in hexadecimal, of those choices that make the model.
    """

    name: str
    folder: RunFolder
    choices: Mapping[str, Choice]
    choices_sha256: str
    recipe_sha256: str


def describe(recipe: Recipe, run: RunFolder) -> Described:
    """Return the description of a run.

    Args:
        recipe: The run's recipe.
        run: The run's folder.
    """
    document = recipe.model_dump(mode="json", by_alias=True)
    choices = {
        key: value
        for key, value in _choices(recipe, document, "")
        if key.partition(".")[0] not in NOT_OF_THE_RUN
    }
    without = section_json(without_places(recipe), NOT_OF_THE_RUN)
    choices_sha256 = hashlib.sha256(without.encode()).hexdigest()
    return Described(recipe.name, run, choices, choices_sha256, hash_recipe(recipe))


def _choices(
    section: BaseModel, document: Mapping[str, JsonValue], prefix: str
) -> Iterator[tuple[str, Choice]]:
    """Yield each key of a section and those in it, with its value; what is no single value is JSON.

    Args:
        section: The section, which tells the sections in it from other mappings.
        document: The section as it is written out, which alone gives the values: passwords are not in it.
        prefix: What each key begins with.
    """
    for name, field in type(section).model_fields.items():
        key = field.alias or name
        inner, value = getattr(section, name), document[key]
        if isinstance(inner, BaseModel) and isinstance(value, dict):
            yield from _choices(inner, value, f"{prefix}{key}.")
        elif isinstance(value, Choice):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True, ensure_ascii=False)
