"""What trackers show of a run besides its events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from pipeline.files.layout import RunFolder
from pipeline.recipe.reading import hash_recipe, section_json, without_places
from pipeline.recipe.sections import Recipe

Choice = str | int | float | bool


@dataclass(frozen=True)
class Described:
    """A run, as trackers describe it.

    Attributes:
        name: The run's name.
        folder: The run's folder.
        choices: Every choice of the recipe but where it is tracked, by its dotted key.
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
    apart = frozenset({"tracking"})
    choices = {key: value for key, value in _choices(recipe, "") if key.partition(".")[0] not in apart}
    without = section_json(without_places(recipe), apart)
    choices_sha256 = hashlib.sha256(without.encode()).hexdigest()
    return Described(recipe.name, run, choices, choices_sha256, hash_recipe(recipe))


def _choices(section: BaseModel, prefix: str) -> Iterator[tuple[str, Choice]]:
    """Yield each key of a section and those in it, with its value; what is no single value is JSON."""
    for name, field in type(section).model_fields.items():
        key, value = f"{prefix}{field.alias or name}", getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _choices(value, f"{key}.")
        elif isinstance(value, Choice):
            yield key, value
        else:
            document = section.model_dump(mode="json", by_alias=True, include={name})
            yield key, json.dumps(next(iter(document.values())), sort_keys=True, ensure_ascii=False)
