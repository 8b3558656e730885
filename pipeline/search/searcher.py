"""The search itself: trials until the budget is spent, and what they tell."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.layout import RunFolder
from pipeline.finetune.course.loop import Epoch
from pipeline.recipe.sections import Recipe
from pipeline.search.bench import Bench
from pipeline.search.best import write_best
from pipeline.search.identity import identity_of
from pipeline.search.postgres import StoreError
from pipeline.search.records import TrialRow, best_of
from pipeline.search.results import Found
from pipeline.search.samplers import pruner_name, pruner_named
from pipeline.search.space import Space
from pipeline.search.stores import Store
from pipeline.search.studies import Claim, Study, TakenOverError
from pipeline.search.table import Table, shown_values

log = logging.getLogger("graft")
USUAL_TRIALS = 30
# A search whose first trials all fail for one reason is ended after so many.
HOPELESS = 5
# How often a worker with nothing left to claim looks whether another, whom it would follow, has died.
WAIT_S = 0.5
# More epochs than that, nobody trains: what Hyperband plans with where the samples say how many there are.
USUAL_EPOCHS = 40


class BehindError(Exception):
    """A trial has fallen behind, and is ended."""


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

    @property
    def pruner(self) -> str:
        """Name of the pruner."""
        return pruner_name(self.section, self.space.values_of(self.recipe, "finetune.mode"))

    def search(self) -> Found:
        """Carry out the trials that are left, and tell what was found."""
        from pipeline.search.nested import nested_estimate, prepare_nested

        start = time.monotonic()
        if self.section.nested:
            prepare_nested(self.recipe)
        study = self.study(self.name, self.run)
        self.work(study, Bench(self.run))
        rows = study.rows()
        best = best_of(rows, maximises=study.maximises)
        if best is None:
            raise _nothing_found(rows)
        took = sum(row.seconds for row in rows)
        found = Found(
            run=self.run.root,
            study=self.name,
            storage=self.store.shown,
            method=self.section.method,
            pruner=self.pruner,
            objective=self.section.objective,
            seed=self.seed,
            trials=rows,
            asked=self.trials,
            best=best,
            importance=study.importance(),
            nested=None,
            seconds=round(time.monotonic() - start, 3),
            recipe=self.run.search / "best.yaml",
            page=self.run.search / "report.html",
        )
        self._write(found)
        if self.section.nested:
            estimate = nested_estimate(self, took, best.value or 0.0)
            found = replace(found, nested=estimate, seconds=round(time.monotonic() - start, 3))
            self._write(found)
        return found

    def _write(self, found: Found) -> None:
        """Leave what was found in the run's folder: the best recipe, the page and the trials."""
        from pipeline.search.page import write_page

        best = self.space.recipe_with(self.recipe, found.best.values, "the best trial")
        write_best(found, best)
        write_page(found, self.space)
        atomic.write_json(self.run.search / "search.json", found.to_json())

    def study(self, name: str, run: RunFolder) -> Study:
        """Open a study of this search.

        Args:
            name: Its name.
            run: The folder of the samples that it is of.
        """
        epochs = (each or USUAL_EPOCHS for each in self.space.values_of(self.recipe, "finetune.epochs"))
        pruner = pruner_named(self.pruner, max([2, *(each for each in epochs if isinstance(each, int))]))
        identity = identity_of(self.recipe, run, self.space, self.seed, self.pruner)
        return Study(self.store, name, self.section, self.space, self.seed, pruner, identity)

    def work(self, study: Study, bench: Bench) -> None:
        """Carry out trials until none is left, or the time is over, which begins now.

        Args:
            study: The study.
            bench: Carries out the trials.
        """
        minutes = self.section.minutes
        table, waited = Table(study.name, self.trials, maximises=study.maximises), False
        with table.alone():
            table.show(study.rows())
            end = math.inf if minutes is None else time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                claim = study.claim(self.trials)
                if claim is not None:
                    self._try(study, claim, bench)
                    rows = study.rows()
                    table.show(rows)
                    _refuse_hopeless(rows)
                elif study.waits_for_others():
                    if not waited:
                        log.info("search: waiting for the last trials of other workers")
                    waited = True
                    time.sleep(WAIT_S)
                else:
                    break

    def _try(self, study: Study, claim: Claim, bench: Bench) -> None:
        """Carry out one trial, unless another worker takes it over."""
        try:
            self._carry_out(study, claim, bench)
        except TakenOverError:
            log.warning("search: another worker took trial %d over", claim.place)

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
            value = bench.carry_out(recipe, watch).score.objective(objective)
            if not math.isfinite(value):
                value, why = None, f"the {objective} is no number"
        except BehindError:
            pass
        except GraftError as error:
            if isinstance(error, StoreError):  # of no trial's own
                raise
            why = str(error)
            log.warning("search: trial %d (%s): %s", claim.place, shown_values(claim.values), why)
        study.finish(claim, value, time.monotonic() - start, why)


def _refuse_hopeless(rows: tuple[TrialRow, ...]) -> None:
    """End a search of which every trial so far has failed for one reason, which is then not the trials' own.

    Raises:
        GraftError: They have.
    """
    if len(rows) >= HOPELESS and all(row.why for row in rows) and len({row.why for row in rows}) == 1:
        raise _nothing_found(rows)


def _nothing_found(rows: tuple[TrialRow, ...]) -> GraftError:
    """Return the error of a search without a best trial."""
    reasons = dict.fromkeys(row.why for row in rows if row.why)
    if not rows:
        return GraftError("The time was over before the first trial had ended. Give it more: --minutes N")
    told = "; ".join(reasons) or "all fell behind"
    return GraftError(
        f"None of {len(rows)} trial(s) has a value: {told}. Mend that, and begin another study: --study NAME"
    )
