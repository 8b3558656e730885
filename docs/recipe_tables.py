"""The recipe's reference as Markdown tables, made from the recipe's own classes."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

DOCS = Path(__file__).parent
COMMON = "common"
TOP = "top level"
HEADER = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
NAMES: dict[object, tuple[str, str]] = {
    bool: ("`true` or `false`", ""),
    int: ("integer", "integers"),
    float: ("number", "numbers"),
    str: ("string", "strings"),
    JsonValue: ("value", "values"),
}
MANY = 6  # choices of a mapping's names; more are listed where they are chosen, not once more
COUNTS = {2: "two", 3: "three", 4: "four"}


def recipe_classes() -> Mapping[str, type[BaseModel]]:
    """The class of each kind's recipe, by the name of the kind."""
    from pipeline.modalities.registry import find_modality

    return {name: find_modality(name).recipe for name in ("image", "text")}


@dataclass(frozen=True)
class Key:
    """One key of a recipe.

    Attributes:
        name: Dotted name; ``*`` stands for the names that a mapping has.
        section: Name of the section at the recipe's top level that holds it.
        kind: What may be written, in words.
        default: Default value as YAML, ``required``, or empty for a section.
        meaning: What the key decides.
    """

    name: str
    section: str
    kind: str
    default: str
    meaning: str

    def to_row(self) -> str:
        """The key as a row of the table."""
        cells = (f"`{self.name}`", self.kind, self.default, self.meaning)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def parts() -> dict[str, str]:
    """The tables by the name of their place in docs/recipe.md: of the common keys, and of each kind's own."""
    classes = recipe_classes()
    keys = {name: list(keys_of(recipe)) for name, recipe in classes.items()}
    first, *others = keys.values()
    common = [key for key in first if all(key in other for other in others)]
    tables = {COMMON: write_tables(common, "", list(classes.values()))}
    for name, recipe in classes.items():
        own = [key for key in keys[name] if key not in common]
        tables[name] = write_tables(own, f"{name}: ", [recipe])
    return tables


def write_tables(keys: list[Key], prefix: str, recipes: list[type[BaseModel]]) -> str:
    """One table for each section that holds any of the keys, under a heading that begins with the prefix.

    Args:
        keys: Keys to list.
        prefix: Words before the section's name in its heading.
        recipes: Classes of the recipes that all have these keys.
    """
    text = ""
    for section in dict.fromkeys(key.section for key in keys):
        text += f"### {prefix}{section if prefix or section != TOP else TOP.capitalize()}\n\n"
        if section != TOP:
            text += f"{summary_of(shared_class(section, recipes))}\n\n"
        text += HEADER + "".join(key.to_row() for key in keys if key.section == section) + "\n"
    return text.strip()


def keys_of(section: type[BaseModel], place: str = "") -> Iterator[Key]:
    """Every key of a section, and of the sections within it.

    Raises:
        ValueError: A field has no description under ``Attributes:`` of its class.
    """
    meanings = attributes_of(section)
    for field_name, field in section.model_fields.items():
        name = f"{place}{field.alias or field_name}"
        if field_name not in meanings:
            raise ValueError(f"{section.__name__}: `{field_name}` has no line under Attributes:")
        inner = inner_section(field.annotation)
        is_mapping = inner is not None and inner is not field.annotation
        top = name.partition(".")[0]
        if place or inner is None:
            kind = "section" if inner and not is_mapping else describe_type(field.annotation, field.metadata)
            default = "" if kind == "section" else describe_default(field)
            yield Key(name, top if place or inner else TOP, kind, default, meanings[field_name])
        if inner is not None:
            yield from keys_of(inner, f"{name}.*." if is_mapping else f"{name}.")


def shared_class(section: str, recipes: list[type[BaseModel]]) -> type[BaseModel]:
    """The most particular class that a section has in all recipes."""
    first, *others = (inner_section(recipe.model_fields[section].annotation) for recipe in recipes)
    assert first is not None
    return next(base for base in first.__mro__ if all(issubclass(other or object, base) for other in others))


def inner_section(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    """The section that an annotation is, or that the values of its mapping are."""
    for found in (annotation, *get_args(annotation)):
        if inspect.isclass(found) and issubclass(found, BaseModel):
            return found
        if get_origin(found) is dict:
            return inner_section(get_args(found)[1])
    return None


def describe_type(
    annotation: Any,  # noqa: ANN401 - any annotation
    metadata: list[Any] | tuple[Any, ...] = (),
) -> str:
    """What may be written for an annotation, in words, with the range that its metadata set."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0], arguments[1:])
    if origin in {Union, types.UnionType}:
        chosen = [each for each in arguments if each is not type(None)]
        return " or ".join(describe_type(each, metadata) for each in chosen)
    if origin is Literal:
        return join_words([f"`{each}`" for each in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        if arguments[0] in NAMES:
            return f"list of {NAMES[arguments[0]][1]}"
        return f"list of {describe_type(arguments[0]).replace('mapping ', 'mappings ')}"
    if origin is tuple:
        return f"list of {COUNTS[len(arguments)]} {describe_several(arguments[0])}"
    if origin is dict:
        inner = inner_section(annotation)
        known = NAMES.get(arguments[1])
        values = "sections" if inner else known[1] if known else describe_type(arguments[1])
        choices = get_args(arguments[0])
        names = describe_type(arguments[0]) if 0 < len(choices) <= MANY else "names"
        return f"mapping from {names} to {values}"
    return NAMES[annotation][0] + describe_range(metadata, step=1 if annotation is int else 0)


def describe_several(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """What several values of a plain type may be, with the range that an annotation gives each of them."""
    plain, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    return NAMES[plain][1] + describe_range(metadata, step=1 if plain is int else 0)


def describe_range(metadata: list[Any] | tuple[Any, ...], step: int) -> str:
    """The range that a field's metadata set, such as `` from 1 to 1000``.

    Args:
        metadata: Constraints as pydantic keeps them.
        step: Distance of two values, 1 for integers; 0 for numbers of any value.
    """
    bounds = {
        name: getattr(each, name)
        for each in metadata
        for name in ("ge", "gt", "le", "lt", "max_length")
        if getattr(each, name, None) is not None
    }
    if "max_length" in bounds:
        return f" of at most {bounds['max_length']} characters"
    low = f" from {bounds['ge']}" if "ge" in bounds else f" above {bounds['gt']}" if "gt" in bounds else ""
    if "lt" in bounds and step:
        return f"{low} to {bounds['lt'] - step}"
    if "lt" in bounds:
        return f"{low} and below {bounds['lt']}"
    if "le" in bounds:
        return f"{low} to {bounds['le']}" if "ge" in bounds else f"{low} and at most {bounds['le']}"
    return low


def describe_default(field: FieldInfo) -> str:
    """The default of a field as a recipe would have it."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == {} or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(each) for each in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def attributes_of(section: type[BaseModel]) -> dict[str, str]:
    """The description of each field, from ``Attributes:`` of the class and of those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("\nAttributes:\n")[2]
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", lines, re.MULTILINE):
            found[name] = to_markdown(text)
    return found


def summary_of(section: type[BaseModel]) -> str:
    """What a section is for: its docstring without the attributes."""
    return to_markdown(inspect.cleandoc(section.__doc__ or "").partition("\nAttributes:\n")[0])


def to_markdown(text: str) -> str:
    """A docstring's text in one line of Markdown, with links to decisions and papers."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
    text = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"docs/adr/(\d{4})", lambda found: link_decision(found[1]), text)


def link_decision(number: str) -> str:
    """A link to the decision of a number."""
    (page,) = DOCS.glob(f"adr/{number}-*.md")
    return f"[ADR {int(number)}](adr/{page.name})"


def join_words(words: list[str]) -> str:
    """Words as an enumeration: ``a, b or c``."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
