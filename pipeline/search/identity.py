"""What the trials of a study depend on, by which two studies are told apart."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pipeline.files.layout import RunFolder
from pipeline.files.samples import digest, read_samples
from pipeline.files.sources import hash_code_folder, hash_source
from pipeline.recipe.reading import without_places
from pipeline.recipe.sections import Recipe
from pipeline.search.space import Space


def identity_of(recipe: Recipe, run: RunFolder, space: Space, seed: int, pruner: str) -> Mapping[str, object]:
    """Return all that the trials of a study depend on, as nested JSON values, without places of files.

    What the recipe has of the searched fields is no part of it: no trial keeps that. So a search goes on with
    the recipe of its own best trial, too.

    Args:
        recipe: The recipe of the search.
        run: The folder of the samples.
        space: The space.
        seed: Seed of the search.
        pruner: Name of the pruner.

    Raises:
        SourceMissingError: A file that the recipe or a choice names is not there.
    """
    samples = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    bare = without_places(recipe)
    sections = {name: getattr(bare, name) for name in ("backbone", *recipe.own_keys(), "finetune")}
    kept: Mapping[str, object] = {
        name: section.model_dump(mode="json", by_alias=True) for name, section in sections.items()
    }
    for axis in space.axes:
        kept = _without(kept, axis.name)
    return {
        "search": {
            "method": recipe.search.method,
            "objective": recipe.search.objective,
            "pruner": pruner,
            "seed": seed,
            "space": space.to_json(),
        },
        "recipe": {**kept, "seed": recipe.seed},
        "data": digest(samples),
        "files": _hash_files(recipe, space),
    }


def _without(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a document without what stands at a dotted name."""
    first, _, rest = name.partition(".")
    others = {key: value for key, value in document.items() if key != first}
    inside = document.get(first)
    if not rest or not isinstance(inside, Mapping):
        return others
    return {**others, first: _without(inside, rest)}


def _hash_files(recipe: Recipe, space: Space) -> Mapping[str, object]:
    """Return the hashes of all files that a trial may depend on, by the keys that name them.

    Those of a searched field are a list for each key, one of each choice.
    """
    hash_once = functools.cache(hash_source)

    def hashes(of: Recipe) -> dict[str, str]:
        weights, code = of.backbone.weights, of.backbone.code()
        return {
            "backbone.weights": weights if weights == "hub" else hash_once(weights, "backbone.weights"),
            **({} if code is None else {"backbone.name": hash_code_folder(code, "backbone.name")}),
            **{key: hash_once(place, key) for key, place in of.finetune.places().items()},
        }

    base = hashes(recipe)
    searched: dict[str, list[str]] = {}
    for axis in space.axes:
        base = {key: value for key, value in base.items() if not axis.decides(key)}
        for choice in axis.dimension.choices or ():
            for key, value in hashes(space.try_value(recipe, axis, choice)).items():
                if axis.decides(key):
                    searched.setdefault(key, []).append(value)
    return {**base, **searched}
