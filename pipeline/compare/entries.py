"""The backbones that a user names, each as the recipe that it stands in.

An entry of ``--backbones`` is one of these, several of the first two parted by commas:

- ``NAME``: a backbone that ``graft backbones`` lists, with the weights that are here; of any other name the
  weights are its source's own (``hub``).
- ``NAME=WEIGHTS``: the two as a recipe has them; a relative path counts from the current folder.
- ``backbone: {name: …, weights: …}``: the line of a recipe, as ``graft backbones`` prints it.
- ``FILE.yaml``: a recipe, of which the backbone and the preparation of samples are taken, or a list of such
  lines; paths count from the file's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import GraftError
from pipeline.modalities.offers import Offer
from pipeline.recipe.reading import check_recipe, dump_recipe, load_recipe, resolve_place
from pipeline.recipe.sections import Recipe

SUFFIXES = (".yaml", ".yml")
OPTION = "--backbones"
OffersNamed = Callable[[str], Sequence[Offer]]
"""Returns the backbones of a name that are on this machine."""
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Contender:
    """A backbone to compare.

    Attributes:
        name: Its name, for people; no two contenders have the same.
        recipe: The recipe with this backbone instead of its own.
        is_own: Whether it is the recipe's own.
    """

    name: str
    recipe: Recipe
    is_own: bool = False


def read_entries(recipe: Recipe, entries: Sequence[str], offers: OffersNamed) -> list[Recipe]:
    """Return the recipe of each backbone that entries name.

    Args:
        recipe: The recipe.
        entries: What the user gave, each as the module's description says.
        offers: Returns the backbones of a name that are here.

    Raises:
        GraftError: An entry is none of these, or names several backbones.
    """
    return [found for entry in entries for found in _read(recipe, entry.strip(), offers)]


def name_contenders(recipe: Recipe, others: Sequence[Recipe]) -> list[Contender]:
    """Return the recipe's own backbone and others, each of them once.

    Args:
        recipe: The recipe.
        others: The recipe with other backbones.
    """
    recipes = [recipe]
    for other in others:
        if other not in recipes:
            recipes.append(other)
    return [
        Contender(name, each, is_own=each is recipe)
        for name, each in zip(_names_of(recipes), recipes, strict=True)
    ]


def _read(recipe: Recipe, entry: str, offers: OffersNamed) -> Iterator[Recipe]:
    """Yield the recipe of each backbone that an entry names."""
    if entry.endswith(SUFFIXES) and "=" not in entry and "," not in entry:
        yield from _from_file(recipe, Path(entry), offers)
    elif entry.startswith(("backbone:", "{")):
        document = _parse(entry, OPTION)
        yield _with_sections(recipe, document, OPTION, Path())
    else:
        names = [each.strip() for each in entry.split(",") if each.strip()]
        if not names:
            raise GraftError(f"{OPTION}: names no backbone. Give names parted by commas, or a YAML file.")
        for each in names:
            yield _from_words(recipe, each, offers)


def _from_words(recipe: Recipe, words: str, offers: OffersNamed) -> Recipe:
    """Return the recipe of ``NAME`` or ``NAME=WEIGHTS``."""
    name, equals, weights = (part.strip() for part in words.partition("="))
    if equals:
        if not name or not weights:
            raise GraftError(f"{OPTION}: {words!r} is no NAME=WEIGHTS.")
        return _with_sections(recipe, {"backbone": {"name": name, "weights": weights}}, OPTION, Path())
    if name == recipe.backbone.name:
        return recipe
    found = list(offers(name))
    if len(found) > 1:
        lines = "\n".join(f"  {offer.recipe_line()}" for offer in found)
        raise GraftError(f"{OPTION}: several weights of {name} are here. Name one by its line:\n{lines}")
    return of_offer(recipe, found[0]) if found else of_offer(recipe, _of_hub(recipe, name))


def _of_hub(recipe: Recipe, name: str) -> Offer:
    return Offer(kind=recipe.modality, place="hub", is_here=False, name=name, weights="hub")


def of_offer(recipe: Recipe, offer: Offer) -> Recipe:
    """Return a recipe with an offered backbone.

    Args:
        recipe: The recipe.
        offer: The backbone, whose name is known.
    """
    mapping = {} if offer.mapping is None else {"mapping": offer.mapping}
    backbone = {"name": offer.name, "weights": offer.weights} | mapping
    return _with_sections(recipe, {"backbone": backbone}, OPTION, Path())


def _from_file(recipe: Recipe, path: Path, offers: OffersNamed) -> Iterator[Recipe]:
    """Yield the recipe of each backbone that a file names."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GraftError(f"{OPTION}: {path} cannot be read ({error}).") from error
    document = _parse_any(text, str(path))
    if isinstance(document, Mapping) and "data" in document:
        yield _of_other(recipe, load_recipe(path))
        return
    if not isinstance(document, list) or not document:
        raise GraftError(
            f"{path}: holds neither a recipe nor a list of backbones, each a name or"
            " `backbone: {name: …, weights: …}`."
        )
    for each in document:
        if isinstance(each, str):
            yield _from_words(recipe, each, offers)
        else:
            yield _with_sections(recipe, _as_mapping(each, str(path)), str(path), path.resolve().parent)


def _of_other(recipe: Recipe, other: Recipe) -> Recipe:
    """Return a recipe with the backbone and the preparation of another one."""
    if other.modality != recipe.modality:
        raise GraftError(
            f"{OPTION}: the recipe {other.name} is of {other.modality} samples, and {recipe.name} of"
            f" {recipe.modality}."
        )
    names = ("backbone", *recipe.own_keys())
    return recipe.model_copy(update={name: getattr(other, name) for name in names})


def _parse_any(text: str, place: str) -> Any:  # noqa: ANN401 - whatever the YAML holds
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GraftError(f"{place}: cannot be read as YAML: {error}") from error


def _parse(text: str, place: str) -> Document:
    return _as_mapping(_parse_any(text, place), place)


def _as_mapping(document: object, place: str) -> Document:
    """Return the sections of a backbone, of which the name alone stands for the whole section."""
    if not isinstance(document, Mapping):
        raise GraftError(
            f"{place}: {document!r} is no backbone: it takes `backbone: {{name: …, weights: …}}`."
        )
    return document if "backbone" in document else {"backbone": document}


def _with_sections(recipe: Recipe, sections: Document, place: str, base: Path) -> Recipe:
    """Return a recipe with another backbone, and with further keys of the preparation changed.

    Args:
        recipe: The recipe.
        sections: The section ``backbone``, and keys of the sections that the kind of input alone has.
        place: Where they come from, for the error.
        base: The folder that relative paths count from.

    Raises:
        GraftError: They are no sections of such a recipe.
    """
    allowed = ("backbone", *recipe.own_keys())
    unknown = [key for key in sections if key not in allowed]
    if unknown:
        raise GraftError(f"{place}: unknown key {unknown[0]!r}; a backbone has {', '.join(allowed)}.")
    document = yaml.safe_load(dump_recipe(recipe))
    for name, section in sections.items():
        kept = {} if name == "backbone" else document[name]
        document[name] = {**kept, **section} if isinstance(section, Mapping) else section
    changed = check_recipe(document, place)
    backbone = changed.backbone.with_places(lambda value: resolve_place(value, base))
    return changed.model_copy(update={"backbone": backbone})


def _names_of(recipes: Sequence[Recipe]) -> list[str]:
    """Return a name for each recipe's backbone; weights tell those of one name apart, or a number."""
    plain = [recipe.backbone.name for recipe in recipes]
    longer = [
        f"{name} ({Path(recipe.backbone.weights).name})" if plain.count(name) > 1 else name
        for name, recipe in zip(plain, recipes, strict=True)
    ]
    return [
        f"{name} #{longer[:place].count(name) + 1}" if longer.count(name) > 1 else name
        for place, name in enumerate(longer)
    ]
