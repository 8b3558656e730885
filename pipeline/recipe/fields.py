"""The fields of a recipe by their dotted names, such as ``finetune.lora.rank``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from pipeline.errors import RecipeError
from pipeline.recipe.sections import Recipe


def find_field(recipe: Recipe, name: str) -> FieldInfo:
    """Return the field of a recipe with a dotted name, such as ``finetune.lora.rank``.

    Raises:
        RecipeError: There is no such field; the message names the one that looks like it.
    """
    model: Any = type(recipe)
    parts = name.split(".")
    field: FieldInfo | None = None
    for depth, part in enumerate(parts):
        known = {each.alias or key: each for key, each in model.model_fields.items()} if model else {}
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1, cutoff=0.5)
            ways = [".".join([*parts[:depth], each]) for each in close or known]
            told = f"; did you mean `{ways[0]}`?" if close else f"; known here: {', '.join(ways)}"
            raise RecipeError(f"{name}: unknown field{told if known else ''}")
        field = known[part]
        model = next((each for each in _types(field.annotation) if issubclass(each, BaseModel)), None)
    assert field is not None
    return field


def is_whole(field: FieldInfo) -> bool:
    """Return whether a field takes whole numbers and no others."""
    kinds = set(_types(field.annotation))
    return int in kinds and float not in kinds


def takes_numbers(field: FieldInfo) -> bool:
    """Return whether a field takes numbers; truth values are none."""
    return not {int, float}.isdisjoint(_types(field.annotation))


def with_value(document: Mapping[str, object], name: str, value: JsonValue) -> Mapping[str, object]:
    """Return a recipe's document with another value; sections around it that are not there are made.

    Args:
        document: The recipe as YAML gives it.
        name: Dotted name of the field.
        value: The value.
    """
    first, _, rest = name.partition(".")
    if not rest:
        return {**document, first: value}
    inside = document.get(first)
    return {**document, first: with_value(inside if isinstance(inside, Mapping) else {}, rest, value)}


def value_at(document: Mapping[str, object], name: str) -> object:
    """Return the value of a recipe's document at a dotted name; None where a section around it is not there.

    Args:
        document: The recipe as YAML gives it.
        name: Dotted name of the field.
    """
    first, _, rest = name.partition(".")
    inside = document.get(first)
    if not rest:
        return inside
    return value_at(inside, rest) if isinstance(inside, Mapping) else None


def _types(annotation: Any) -> list[type]:  # noqa: ANN401 - a type
    """Return the classes that an annotation such as ``int | None`` names."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    return [each for part in get_args(annotation) for each in _types(part)]
