"""Recipes as files: read, with everything that is wrong said at once, written out, and hashed."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from pipeline.errors import RecipeError
from pipeline.modalities.registry import DEFAULT, find_modality, list_modalities
from pipeline.recipe.addresses import without_credentials
from pipeline.recipe.data import Range
from pipeline.recipe.fields import value_at, with_value
from pipeline.recipe.search import Dimension, Search
from pipeline.recipe.sections import Export, Recipe
from pipeline.recipe.transfer import Transfer

AFTERWARDS = frozenset({"search", "tracking", "deploy", "budget"})
"""The sections that neither make the model nor what is compared with it."""


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Relative paths in it count from its folder, and come back absolute.

    Args:
        path: Path of the YAML file.

    Raises:
        RecipeError: The file is missing or not YAML, or the recipe is wrong; everything that is wrong is
            listed at once.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe. Write one with: graft init FOLDER") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {without_credentials(str(error))}") from None
    if not isinstance(document, dict):
        raise RecipeError(
            f"{path}: a recipe is a mapping with the keys {', '.join(find_modality(DEFAULT).recipe.keys())}."
        )
    known = list_modalities()
    if document.get("modality", DEFAULT) not in known:
        raise RecipeError(
            f"{path}: modality: is {_shown(document['modality'])}; known are {', '.join(known)}."
        )
    return _absolute(check_recipe(document, str(path)), path.resolve().parent)


def check_recipe(document: Mapping[str, Any], place: str) -> Recipe:
    """Return the recipe that a document holds.

    Args:
        document: The recipe as YAML gives it.
        place: Where the document comes from, such as a path, for the error.

    Raises:
        RecipeError: The recipe is wrong; the message begins with the place and lists everything.
    """
    try:
        return parse_recipe(document)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in _explain(error, _kind(document)))
        raise RecipeError(f"{place}: {error.error_count()} thing(s) to mend:\n{lines}") from error


def parse_recipe(document: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a document holds, of the class of its ``modality``.

    Args:
        document: The recipe as YAML gives it.

    Raises:
        ValidationError: The recipe is wrong.
    """
    return _kind(document).model_validate(document)


def _kind(document: Mapping[str, Any]) -> type[Recipe]:
    """Return the class of the recipe that a document holds."""
    return find_modality(document.get("modality", DEFAULT)).recipe


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML, with every default written out."""
    document = recipe.model_dump(mode="json", by_alias=True)
    ordered = {key: document[key] for key in recipe.keys()}  # noqa: SIM118 - a class method, not a mapping's
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True)


def section_json(section: BaseModel, leave_out: frozenset[str] = frozenset()) -> str:
    """Return a section as canonical JSON, to be hashed.

    Args:
        section: The section.
        leave_out: Keys that are left out.
    """
    return json.dumps(section.model_dump(mode="json", by_alias=True, exclude=set(leave_out)), sort_keys=True)


def hash_recipe(recipe: Recipe) -> str:
    """Return a SHA-256, in hex, of those choices of a recipe that make the model.

    Left out are the places of files, whose contents have hashes of their own, what the model is compared
    with, what is made of it afterwards, and to whom the run is told.
    """
    decisive = without_places(recipe).model_copy(update={"export": Export(), "transfer": Transfer()})
    return hashlib.sha256(section_json(decisive, AFTERWARDS).encode()).hexdigest()


def without_places(recipe: Recipe) -> Recipe:
    """Return a recipe without the places of its files, which may change while the files stay the same.

    Left out is the search, too, which does not change what the recipe makes.
    """
    splits = recipe.data.splits.model_copy(update={"keep": None})
    data = recipe.data.model_copy(update={"source": "", "root": None, "splits": splits})
    backbone = recipe.backbone.with_places(lambda _: "")
    finetune = recipe.finetune.with_places(lambda _: "")
    others = {"backbone": backbone, "finetune": finetune, "search": Search()}
    return recipe.model_copy(update={"data": data, **others})


def _absolute(recipe: Recipe, base: Path) -> Recipe:
    """Return a recipe with absolute paths; relative ones count from a folder."""

    def resolve(value: str) -> str:
        return resolve_place(value, base)

    root = recipe.data.root
    keep = recipe.data.splits.keep
    splits = recipe.data.splits.model_copy(update={"keep": keep and resolve(keep)})
    places = {"source": resolve(recipe.data.source), "root": root and resolve(root), "splits": splits}
    data = recipe.data.model_copy(update=places)
    search = recipe.search.with_places(resolve)
    space = {name: _absolute_choices(recipe, name, each, base) for name, each in search.space.items()}
    changed = {
        "data": data,
        "backbone": recipe.backbone.with_places(resolve),
        "finetune": recipe.finetune.with_places(resolve),
        "search": search.model_copy(update={"space": space}),
        "tracking": recipe.tracking.with_places(resolve),
    }
    return recipe.model_copy(update=changed)


def _absolute_choices(recipe: Recipe, name: str, dimension: Dimension, base: Path) -> Dimension:
    """Return the values that a search may try for a field, with absolute paths where they name files."""

    def resolve(choice: JsonValue) -> JsonValue:
        try:
            tried = parse_recipe(with_value(recipe.model_dump(mode="json", by_alias=True), name, choice))
        except ValidationError:  # which the search refuses with what is wrong
            return choice
        there = {
            key: getattr(tried, key).with_places(lambda place: resolve_place(place, base))
            for key in ("backbone", "finetune")
        }
        documents = [
            each.model_dump(mode="json", by_alias=True) for each in (tried, tried.model_copy(update=there))
        ]
        before, after = (value_at(document, name) for document in documents)
        return _replaced(choice, before, after)

    if dimension.choices is None:
        return dimension
    return dimension.model_copy(update={"choices": tuple(map(resolve, dimension.choices))})


def _replaced(value: JsonValue, before: object, after: object) -> JsonValue:
    """Return a value with what differs between two readings of it, and otherwise as it was written."""
    if isinstance(value, dict) and isinstance(before, Mapping) and isinstance(after, Mapping):
        return {key: _replaced(each, before.get(key), after.get(key)) for key, each in value.items()}
    return value if before == after else cast("JsonValue", after)


def resolve_place(value: str, base: Path) -> str:
    """Return a place of a recipe with an absolute path.

    Args:
        value: A path, or ``hub``, ``hub:NAME`` or ``package:NAME/PATH``, which stay as they are.
        base: The folder that relative paths count from.
    """
    if value == "hub" or value.startswith(("package:", "hub:")):
        return value
    return str((base / Path(value).expanduser()).absolute())


def _explain(error: ValidationError, kind: type[Recipe]) -> Iterator[str]:
    """Yield a line for each thing that is wrong, in the order of the recipe's keys."""
    places = {key: place for place, key in enumerate(kind.keys())}  # unknown keys come last
    for item in sorted(
        error.errors(), key=lambda item: places.get(str(next(iter(item["loc"]), "")), len(places))
    ):
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield f"{place}: unknown key{_nearest(item['loc'], kind)}"
        elif item["type"] == "missing":
            yield f"{place}: is required"
        else:
            message = item["msg"].removeprefix("Value error, ")
            # A whole section, which its own rule refused in words, says nothing more.
            found = "" if isinstance(item["input"], Mapping) else f" (found {_shown(item['input'])})"
            yield f"{place or 'recipe'}: {message}{found}"


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever the YAML held
    """Return a value as a message shows it, in 60 characters at most, without users and passwords."""
    text = without_credentials(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(location: tuple[int | str, ...], kind: type[Recipe]) -> str:
    """Return the end of a message on an unknown key: the key that looks like it, or all that are known."""
    names = _keys_at(location[:-1], kind)
    close = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(names)}"


def _keys_at(location: tuple[int | str, ...], kind: type[Recipe]) -> list[str]:
    """Return the keys that the recipe knows at a place, which is given as pydantic gives it."""
    if not location:
        return kind.keys()
    model: Any = kind
    for part in location:
        fields: Mapping[str, Any] = getattr(model, "model_fields", {})
        model = _model_of(fields[str(part)].annotation) if part in fields else Range
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_of(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return the section that a field holds; a field that is none holds ranges by their names."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else Range
