"""``graft search``: a recipe's search with what the command line changes of it, in the run's folder."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from pipeline.recipe.reading import check_recipe, resolve_place
from pipeline.recipe.sections import Recipe
from pipeline.run.runner import open_run
from pipeline.run.sharing import sharing_data
from pipeline.search.bench import WorkerFolder
from pipeline.search.results import Found
from pipeline.search.searcher import Searcher
from pipeline.search.space import Space, space_of
from pipeline.search.stores import open_store

# A grid of more points is searched only when the user says that this is meant.
MOST_POINTS = 1_000_000


@dataclass(frozen=True)
class Changes:
    """What the command line changes of the recipe's section ``search``.

    Attributes:
        trials: Number of trials; None, as below, for the recipe's.
        minutes: Minutes after which no trial begins.
        storage: Address of the database.
        study: Name of the study.
        agreed: Whether a grid of any size is meant.
    """

    trials: int | None = None
    minutes: float | None = None
    storage: str | None = None
    study: str | None = None
    agreed: bool = False


def search(target: Path, folder: Path | None, data_root: Path | None, changes: Changes) -> Found:
    """Search for values of a recipe, or go on with a search that was not finished.

    Args:
        target: A recipe, or a run's folder.
        folder: The run's folder, when the target is a recipe; None for the usual one.
        data_root: The folder that the data are in now; None where they have not moved.
        changes: What the command line changes of the search.

    Raises:
        GraftError: The space is wrong, the data, backbone or database cannot be had, the study is of another
            search, or no trial has a value.
    """
    require("optuna")
    run = open_run(target, folder, data_root)
    recipe = _changed(run.recipe, changes)
    space = space_of(recipe)
    _check_size(recipe, space, agreed=changes.agreed)
    database = open_store(recipe.search.storage, run.folder.search / "trials.db")
    with closing(database) as store, sharing_data(replace(run, recipe=recipe)):
        return Searcher(recipe, WorkerFolder(run.folder.root, store.worker), space, store).search()


def _changed(recipe: Recipe, changes: Changes) -> Recipe:
    """Return a recipe whose section ``search`` is as the command line says.

    Raises:
        RecipeError: The section does not allow it.
    """
    given = {
        key: value for key in ("trials", "minutes", "study") if (value := getattr(changes, key)) is not None
    }
    document = recipe.model_dump(mode="json", by_alias=True)
    document["search"] |= given
    section = check_recipe(document, "search").search
    kept = section.model_copy(update={"storage": recipe.search.storage})  # in the document without a password
    if changes.storage:
        named = section.model_copy(update={"storage": changes.storage})
        kept = named.with_places(lambda place: resolve_place(place, Path.cwd()))
    return recipe.model_copy(update={"search": kept})


def _check_size(recipe: Recipe, space: Space, *, agreed: bool) -> None:
    """Refuse a grid that nobody can mean.

    Raises:
        GraftError: It has more than a million points, and nobody has agreed.
    """
    if recipe.search.method == "grid" and space.size > MOST_POINTS and not agreed:
        counts = " x ".join(f"{axis.points} of {axis.name}" for axis in space.axes)
        raise GraftError(
            f"search.method: grid, and the grid has {space.size:,} points ({counts}). Name fewer, search with"
            " method: bayesian or random, or confirm with: --yes"
        )
