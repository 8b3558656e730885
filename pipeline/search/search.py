"""``graft search``: trials of a recipe's values, until the budget is spent, and what they tell."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.files.samples import digest, read_samples
from pipeline.files.sources import hash_source
from pipeline.finetune.course.loop import Epoch
from pipeline.machine.extras import require
from pipeline.recipe.reading import check_recipe, without_places
from pipeline.recipe.sections import Recipe
from pipeline.run.runner import open_run
from pipeline.run.sharing import sharing_data
from pipeline.search.bench import Bench, Result
from pipeline.search.best import write_best
from pipeline.search.records import TrialRow, best_of
from pipeline.search.results import Found
from pipeline.search.samplers import pruner_name, pruner_named
from pipeline.search.space import Space, space_of
from pipeline.search.stores import Store, open_store
from pipeline.search.studies import Claim, Study
from pipeline.search.table import Table, shown_values

log = logging.getLogger("graft")
USUAL_TRIALS = 30
# A grid of more points is searched only when the user says that this is meant.
MOST_POINTS = 1_000_000
# How often a worker with nothing left to claim looks whether another, whom it would follow, has died.
WAIT_S = 0.5
# More epochs than that, nobody trains: what Hyperband plans with where the samples say how many there are.
USUAL_EPOCHS = 40


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


class BehindError(Exception):
    """A trial has fallen behind, and is ended."""


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
        return Searcher(recipe, run.folder, space, store).search()


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
    storage = changes.storage or recipe.search.storage  # which the document has without the password
    return recipe.model_copy(update={"search": section.model_copy(update={"storage": storage})})


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


class Searcher:
    """A search in a run whose data are done.

    Args:
        recipe: The recipe.
        run: The run's folder.
        space: The space.
        store: The database.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, space: Space, store: Store) -> None:
        self.recipe = recipe
        self.run = run
        self.space = space
        self.store = store
        self.section = recipe.search
        self.seed = recipe.seed if self.section.seed is None else self.section.seed
        self.name = self.section.study or recipe.name
        most = self.section.trials or (space.size if self.section.method == "grid" else USUAL_TRIALS)
        self.trials = min(most, space.size) if self.section.method == "grid" else most

    def search(self) -> Found:
        """Carry out the trials that are left, and tell what was found."""
        from pipeline.search.nested import nested_estimate, refuse_torn
        from pipeline.search.page import write_page

        start = time.monotonic()
        if self.section.nested:
            refuse_torn(self.recipe.data)
        study = self.study(self.name, self.run)
        self.work(study, Bench(self.run), start)
        rows = study.rows()
        best = best_of(rows, maximises=study.maximises)
        if best is None:
            raise _nothing_found(rows)
        took = sum(row.seconds for row in rows)
        estimate = nested_estimate(self, start, took, best.value or 0.0) if self.section.nested else None
        found = Found(
            run=self.run.root,
            study=self.name,
            storage=self.store.shown,
            method=self.section.method,
            pruner=pruner_name(self.section, self.recipe.finetune.mode),
            objective=self.section.objective,
            seed=self.seed,
            trials=rows,
            asked=self.trials,
            best=best,
            importance=study.importance(),
            nested=estimate,
            seconds=round(time.monotonic() - start, 3),
            recipe=self.run.search / "best.yaml",
            page=self.run.search / "report.html",
        )
        write_best(found, self.space.recipe_with(self.recipe, best.values, "the best trial"))
        write_page(found, self.space)
        atomic.write_json(self.run.search / "search.json", found.to_json())
        return found

    def study(self, name: str, run: RunFolder) -> Study:
        """Open a study of this search.

        Args:
            name: Its name.
            run: The folder of the samples that it is of.
        """
        epochs = max(2, self.recipe.finetune.epochs or USUAL_EPOCHS)
        pruner = pruner_named(pruner_name(self.section, self.recipe.finetune.mode), epochs)
        identity = identity_of(self.recipe, run, self.space, self.seed)
        return Study(self.store, name, self.section, self.space, self.seed, pruner, identity)

    def work(self, study: Study, bench: Bench, start: float) -> None:
        """Carry out trials until none is left, or the time is over.

        Args:
            study: The study.
            bench: Carries out the trials.
            start: When the search began, by the monotonic clock.
        """
        minutes = self.section.minutes
        end = math.inf if minutes is None else start + 60 * minutes
        table, waited = Table(study.name, self.trials, maximises=study.maximises), False
        table.show(study.rows())
        while time.monotonic() < end:
            claim = study.claim(self.trials)
            if claim is not None:
                self._carry_out(study, claim, bench)
                table.show(study.rows())
            elif study.waits_for_others():
                if not waited:
                    log.info("search: waiting for the last trials of other workers")
                waited = True
                time.sleep(WAIT_S)
            else:
                break

    def _carry_out(self, study: Study, claim: Claim, bench: Bench) -> None:
        """Carry out one trial, and note what came of it."""
        start, value, why = time.monotonic(), None, ""
        objective, steps = self.section.objective, 0

        def watch(epoch: Epoch) -> None:
            nonlocal steps
            steps += 1
            told = epoch.validation_loss if objective == "loss" else epoch.validation_accuracy
            if study.should_end(claim, steps, told):
                raise BehindError

        try:
            recipe = self.space.recipe_with(self.recipe, claim.values, f"trial {claim.place}")
            value = self._value(bench.carry_out(recipe, watch))
            if not math.isfinite(value):
                value, why = None, f"the {objective} is no number"
        except BehindError:
            pass
        except GraftError as error:
            if not self._is_of_trial(error):
                raise
            why = str(error)
            log.warning("search: trial %d (%s): %s", claim.place, shown_values(claim.values), why)
        study.finish(claim, value, time.monotonic() - start, why)

    def _value(self, result: Result) -> float:
        return result.score.objective(self.section.objective)

    @staticmethod
    def _is_of_trial(error: GraftError) -> bool:
        """Return whether an error is of the trial's own values, and no other trial need have it."""
        return not str(error).startswith("search.storage")


def identity_of(recipe: Recipe, run: RunFolder, space: Space, seed: int) -> Mapping[str, object]:
    """Return all that the trials of a study depend on, as nested JSON values, without places of files."""
    samples = [sample for sample in read_samples(run) if sample.split in {"train", "validation"}]
    bare, weights = without_places(recipe), recipe.backbone.weights
    sections = {name: getattr(bare, name) for name in ("backbone", *recipe.own_keys(), "finetune")}
    return {
        "search": {
            "method": recipe.search.method,
            "objective": recipe.search.objective,
            "pruner": pruner_name(recipe.search, recipe.finetune.mode),
            "seed": seed,
            "space": space.to_json(),
        },
        "recipe": {name: section.model_dump(mode="json", by_alias=True) for name, section in sections.items()}
        | {"seed": recipe.seed},
        "data": digest(samples),
        "weights": weights if weights == "hub" else hash_source(weights, "backbone.weights"),
    }


def _nothing_found(rows: tuple[TrialRow, ...]) -> GraftError:
    """Return the error of a search without a best trial."""
    reasons = dict.fromkeys(row.why for row in rows if row.why)
    if not rows:
        return GraftError("The time was over before the first trial had ended. Give it more: --minutes N")
    told = "; ".join(reasons) or "all fell behind"
    return GraftError(f"None of {len(rows)} trial(s) has a value: {told}. Mend the space, or the recipe.")
