"""The best trial as a recipe that ``graft run`` takes."""

from __future__ import annotations

from pipeline.files import atomic
from pipeline.recipe.reading import dump_recipe
from pipeline.recipe.sections import Recipe
from pipeline.reporting.printable import printable
from pipeline.search.results import NAMES, Found
from pipeline.search.table import shown_values


def write_best(found: Found, recipe: Recipe) -> None:
    """Write the recipe of the best trial, with a comment on where it comes from.

    It keeps its search, so that a run which takes it over can be searched further.

    Args:
        found: What the search found.
        recipe: The recipe of the best trial.
    """
    best = found.best
    lines = [
        f"Trial {best.place} of the study {printable(found.study)}, the best of {len(found.trials)}:"
        f" {best.value:.6g} ({NAMES[found.objective]}).",
        f"Method {found.method}, pruner {found.pruner}, seed {found.seed}.",
        f"Searched: {printable(shown_values(best.values), 1000)}.",
    ]
    if found.nested is not None:
        lines.append(f"By nested folds: {found.nested_text()}.")
    comment = "".join(f"# {line}\n" for line in lines)
    atomic.write_bytes(found.recipe, (comment + dump_recipe(recipe)).encode())
