"""Which values a trial has, and which trial is ended early: by its place in the search, not by chance.

Optuna's samplers draw from one source of chance for as long as the process lives, so that a search which goes
on in another process would draw the first values again. Here every trial has a source of its own, which
follows from the seed of the search and the trial's place alone.

A grid is counted through by Graft: Optuna's holds all points in memory, and takes a trial's number for its
point, so that a trial which is tried again uses up a point (optuna/optuna#2993).
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipeline.recipe.search import Search
from pipeline.search.axes import Values
from pipeline.search.space import Space

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

PLACE = "place"
"""The attribute of a trial with its place in the search, from 0 on, which it keeps when it is tried again."""
# Number of trials that are drawn at random before the Bayesian sampler goes by them.
RANDOM_FIRST = 8
# One in so many trials goes on at each rung, and so many epochs come before the first rung.
REDUCTION, FIRST_RUNG = 3, 1


def sampler_of(search: Search, seed: int, place: int) -> BaseSampler:
    """Return the sampler of one trial.

    Args:
        search: The recipe's section ``search``.
        seed: Seed of the search.
        place: Place of the trial.
    """
    from optuna.samplers import RandomSampler, TPESampler

    own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    if search.method != "bayesian":
        return RandomSampler(seed=own)
    return TPESampler(n_startup_trials=RANDOM_FIRST, multivariate=True, constant_liar=True, seed=own)


def given_values(search: Search, space: Space, seed: int, place: int) -> Values:
    """Return the values that a trial has whatever the sampler: those of its point of the grid, or none.

    Args:
        search: The recipe's section ``search``.
        space: The space.
        seed: Seed of the search.
        place: Place of the trial, below the number of points of a grid.
    """
    return space.point(shuffled(place, space.size, seed)) if search.method == "grid" else {}


def shuffled(place: int, count: int, seed: int) -> int:
    """Return the number at a place of a shuffled order of so many numbers, none of which is written down.

    So the first points of a grid are spread over it, for a search that ends before the last.

    Args:
        place: The place, from 0 on.
        count: How many numbers there are.
        seed: Seed of the order.
    """
    rng = random.Random(seed)  # noqa: S311 - an order; NumPy's numbers end at 2**63
    factor, offset = 1, rng.randrange(count)
    for _ in range(100):
        drawn = rng.randrange(1, max(2, count))
        if math.gcd(drawn, count) == 1:
            factor = drawn
            break
    return (factor * place + offset) % count


def pruner_name(search: Search, modes: Iterable[object]) -> str:
    """Return the pruner that a search has: ``auto`` is ASHA where there are epochs.

    Args:
        search: The recipe's section ``search``.
        modes: Every ``finetune.mode`` that a trial may have.
    """
    if search.pruner != "auto":
        return search.pruner
    return "none" if set(modes) == {"features"} else "asha"


def pruner_named(name: str, epochs: int) -> BasePruner:
    """Return a pruner by its name in the recipe. To it, trials whose worker died have not been.

    Args:
        name: The name.
        epochs: Number of epochs that a trial has at most.
    """
    from optuna.pruners import HyperbandPruner, NopPruner, SuccessiveHalvingPruner
    from optuna.trial import TrialState

    class Asha(SuccessiveHalvingPruner):
        """Successive halving among the trials that have not failed."""

        def prune(self, study: Study, trial: FrozenTrial) -> bool:
            return super().prune(cast("Study", _Living(study)), trial)

    class Hyperband(HyperbandPruner):
        """Hyperband that chooses a trial's bracket by its place, which it keeps when it is tried again."""

        def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
            if trial.state == TrialState.FAIL:
                return -1
            if not self._pruners:
                self._try_initialization(study)
            budgets = self._trial_allocation_budgets
            drawn = zlib.crc32(f"{study.study_name}_{trial.user_attrs[PLACE]}".encode()) % sum(budgets)
            return int(np.searchsorted(np.cumsum(budgets), drawn, side="right"))

    if name == "asha":
        return Asha(min_resource=FIRST_RUNG, reduction_factor=REDUCTION)
    if name == "hyperband":
        return Hyperband(min_resource=FIRST_RUNG, max_resource=epochs, reduction_factor=REDUCTION)
    return NopPruner()


class _Living:
    """A study without the trials that failed."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the study has
        return getattr(self._study, name)

    def get_trials(self, **options: Any) -> list[FrozenTrial]:  # noqa: ANN401 - as the study has it
        from optuna.trial import TrialState

        return [trial for trial in self._study.get_trials(**options) if trial.state != TrialState.FAIL]
