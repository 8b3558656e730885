"""A study: the trials of a search in a database, each of which is done exactly once, whoever does it.

Every trial has a place, from 0 on. A worker claims the first place that nobody has done or is doing, while no
other worker claims. A trial whose worker has died is marked as such, and its place is free again, with the
same values.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import GraftError
from pipeline.recipe.search import Search
from pipeline.search.axes import Values
from pipeline.search.records import TrialRow, rows_of
from pipeline.search.samplers import PLACE, given_values, sampler_of
from pipeline.search.space import Space
from pipeline.search.stores import Store

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial, Trial

IDENTITY, WORKER, DEAD, WHY, SECONDS = "identity", "worker", "dead", "why", "seconds"
"""Names of the attributes of a study and of its trials."""
MAXIMISED = frozenset({"accuracy", "macro_f1"})
# Number of trials from which on it is told what decides the objective.
LEAST_FOR_IMPORTANCE = 4
# A trial with which so many workers have died is not tried again.
MOST_DEATHS = 20


@dataclass(frozen=True)
class Claim:
    """A trial that this worker is to do.

    Attributes:
        trial: The trial in the database.
        place: Its place in the search.
        values: Its values.
    """

    trial: Trial
    place: int
    values: Values


class TakenOverError(Exception):
    """Another worker took this one for dead, and does its trial."""


class Study:
    """A study in a database.

    Args:
        store: The database.
        name: Name of the study.
        search: The recipe's section ``search``.
        space: The space.
        seed: Seed of the search.
        pruner: What ends trials early.
        identity: All that the trials depend on, as nested JSON values.

    Raises:
        GraftError: A study of that name has another identity, or the database cannot be used.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        search: Search,
        space: Space,
        seed: int,
        pruner: BasePruner,
        identity: Mapping[str, object],
    ) -> None:
        self.store = store
        self.name = name
        self.search = search
        self.space = space
        self.seed = seed
        with self.store.explained(), store.claiming("studies"):
            self._study = _open(store, name, search, pruner)
            self._agree(identity)

    @property
    def maximises(self) -> bool:
        """Whether a greater value is a better one."""
        return self.search.objective in MAXIMISED

    def _agree(self, identity: Mapping[str, object]) -> None:
        """Note the identity of a new study, or refuse another one's.

        Raises:
            GraftError: The study has another one; the message says what differs.
        """
        kept = self._study.user_attrs.get(IDENTITY)
        current = json.loads(json.dumps(identity))
        if kept is None:
            self._study.set_user_attr(IDENTITY, current)
        elif kept != current:
            told = "; ".join(differences(kept, current))
            raise GraftError(
                f"The study `{self.name}` in {self.store.shown} is of another search: {told}. Go on with"
                " what it was, or begin another: --study NAME"
            )

    def claim(self, most: int) -> Claim | None:
        """Claim the first place that nobody has done or is doing; None where there is none.

        Args:
            most: Number of places.

        Raises:
            GraftError: The database cannot be used any more.
        """
        self.store.check()
        with self.store.explained(), self.store.claiming(self.name):
            self._mark_dead()
            taken, left, deaths = _places(self._study.get_trials(deepcopy=False))
            place = next((each for each in range(len(taken) + 1) if each not in taken), len(taken))
            if place >= most:
                return None
            if place not in left:
                dead = deaths.get(place)
                values = dead or given_values(self.search, self.space, self.seed, place)
                self._study.enqueue_trial(dict(values), user_attrs={PLACE: place, WORKER: self.store.worker})
            self._study.sampler = sampler_of(self.search, self.seed, place)
            trial = self._study.ask(self.space.distributions())
            trial.set_user_attr(WORKER, self.store.worker)
            return Claim(trial, place, dict(trial.params))

    def _mark_dead(self) -> None:
        """Mark the trials whose worker has died, so that they are tried again, but not for ever."""
        from optuna.trial import TrialState

        trials, storage = self._study.get_trials(deepcopy=False), self._study._storage  # noqa: SLF001
        died = Counter(trial.user_attrs[PLACE] for trial in trials if trial.user_attrs.get(DEAD))
        for trial in trials:
            if trial.state != TrialState.RUNNING or not self.store.is_dead(trial.user_attrs[WORKER]):
                continue
            if died[trial.user_attrs[PLACE]] + 1 < MOST_DEATHS:
                storage.set_trial_user_attr(trial._trial_id, DEAD, True)  # noqa: SLF001, FBT003
            else:
                why = f"{MOST_DEATHS} workers died at it"
                storage.set_trial_user_attr(trial._trial_id, WHY, why)  # noqa: SLF001
            self._study.tell(trial.number, state=TrialState.FAIL)

    def waits_for_others(self) -> bool:
        """Return whether another worker is still at a trial, whom this one may have to follow."""
        from optuna.trial import TrialState

        with self.store.explained():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            return bool(running)

    def should_end(self, claim: Claim, step: int, value: float) -> bool:
        """Note the value of an epoch, and return whether the trial has fallen behind.

        Args:
            claim: The trial.
            step: Number of the epoch, from 1 on.
            value: The objective at that epoch.

        Raises:
            TakenOverError: Another worker does the trial.
        """
        with self.store.explained(), _taken_over():
            claim.trial.report(value, step)
            return claim.trial.should_prune()

    def finish(self, claim: Claim, value: float | None, seconds: float, why: str = "") -> None:
        """Note the result of a trial.

        Args:
            claim: The trial.
            value: The objective; None where the trial has none.
            seconds: Seconds that it took.
            why: Why it has no value; empty, the default, where it fell behind or has one.

        Raises:
            GraftError: The database cannot be used any more.
            TakenOverError: Another worker does the trial.
        """
        from optuna.trial import TrialState

        self.store.check()
        with self.store.explained(), _taken_over():
            claim.trial.set_user_attr(SECONDS, round(seconds, 3))
            if value is not None:
                self._study.tell(claim.trial, value)
            elif why:
                claim.trial.set_user_attr(WHY, why)
                self._study.tell(claim.trial, state=TrialState.FAIL)
            else:
                self._study.tell(claim.trial, state=TrialState.PRUNED)

    def rows(self) -> tuple[TrialRow, ...]:
        """Return all trials that are done, in the order of their places."""
        with self.store.explained():
            return rows_of(self._study.get_trials(deepcopy=False))

    def importance(self) -> dict[str, float]:
        """Return how much each field decides the objective, by PED-ANOVA: shares of 1, or nothing.

        It takes a few trials, and values that differ.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = [row.value for row in self.rows() if row.state == "done" and row.value is not None]
        if len(values) < LEAST_FOR_IMPORTANCE or min(values) == max(values):
            return {}
        with self.store.explained():
            return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())


@contextmanager
def _taken_over() -> Iterator[None]:
    """Raise TakenOverError where a trial that is worked on within the block is over for the database."""
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except UpdateFinishedTrialError as error:
        raise TakenOverError from error


def _open(store: Store, name: str, search: Search, pruner: BasePruner) -> OptunaStudy:
    """Return Optuna's study of a name, which is made where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(store.url, engine_kwargs=store.engine_options())
    store.prepare(storage.engine)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(),
        direction="maximize" if search.objective in MAXIMISED else "minimize",
    )


def _places(trials: list[FrozenTrial]) -> tuple[set[int], set[int], dict[int, Values]]:
    """Return which places are taken, which were claimed by halves, and the values of dead trials.

    A worker that died between the two halves of a claim leaves a trial that waits.
    """
    from optuna.trial import TrialState

    taken: set[int] = set()
    left: set[int] = set()
    values: dict[int, Values] = {}
    for trial in trials:
        place = trial.user_attrs[PLACE]
        if trial.state == TrialState.WAITING:
            left.add(place)
        elif trial.state == TrialState.FAIL and trial.user_attrs.get(DEAD):
            if trial.params:
                values[place] = trial.params
        else:
            taken.add(place)
    return taken, left, values


def differences(kept: object, current: object, name: str = "") -> Iterator[str]:
    """Yield a phrase for each value that differs between two nested JSON values."""
    if isinstance(kept, Mapping) and isinstance(current, Mapping):
        for key in dict.fromkeys((*kept, *current)):
            yield from differences(kept.get(key), current.get(key), f"{name}.{key}" if name else str(key))
    elif kept != current:
        yield f"{name} is {_shown(kept)} there and {_shown(current)} here"


def _shown(value: object) -> str:
    text = "not" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
