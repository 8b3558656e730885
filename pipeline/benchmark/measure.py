"""How long batches take: every setting in turn, in every round in another order."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.benchmark.rows import Setting, Spread, Timing
from pipeline.reporting.progress import track

WARM_UP_BATCHES = 5
Arrays = Sequence[NDArray[Any]]


class Scorer(Protocol):
    """What is timed; :class:`serving.model.predictor.Predictor` is one."""

    def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Probabilities of decoded arrays."""
        ...


@dataclass(frozen=True)
class Slot:
    """One setting in one round: the seconds that each of its batches took."""

    batch_size: int
    seconds: Sequence[float]

    @property
    def samples_per_s(self) -> float:
        """Inputs a second."""
        return self.batch_size * len(self.seconds) / sum(self.seconds)


def measure_settings(
    scorers: Mapping[Setting, Scorer], arrays: Arrays, *, rounds: int, seconds: float, seed: int
) -> dict[Setting, Timing]:
    """Time every setting once a round, in an order that each round shuffles anew, so that a machine's changes of pace hit all alike.

    Every setting gets the same inputs in every round: as many as fit into the seconds, and one batch of the
    largest size at least.

    Args:
        scorers: What to time.
        arrays: Decoded inputs, which are gone through again where more are needed.
        rounds: How many.
        seconds: About how long all of it may take.
        seed: Of the orders.
    """
    inputs = _plan(scorers, arrays, seconds / rounds)
    random_order = random.Random(seed)  # noqa: S311 - an order, not a secret
    turns = [setting for _ in range(rounds) for setting in random_order.sample(list(scorers), len(scorers))]
    slots: dict[Setting, list[Slot]] = {setting: [] for setting in scorers}
    for setting in track(turns, total=len(turns), what="benchmark", unit="timings"):
        slots[setting].append(_time_slot(scorers[setting], arrays, inputs, setting.batch_size))
    return {setting: summarise_slots(setting, found) for setting, found in slots.items()}


def _plan(scorers: Mapping[Setting, Scorer], arrays: Arrays, seconds: float) -> int:
    """Warm every setting up, and say how many inputs each can go through if all of them together are to take so long."""
    largest = max(setting.batch_size for setting in scorers)
    costs = []
    for setting, scorer in scorers.items():
        slot = _time_slot(scorer, arrays, WARM_UP_BATCHES * setting.batch_size, setting.batch_size)
        costs.append(statistics.mean(slot.seconds) / setting.batch_size)
    return max(largest, math.floor(seconds / sum(costs)) // largest * largest)


def _time_slot(scorer: Scorer, arrays: Arrays, inputs: int, batch_size: int) -> Slot:
    batches = [_batch(arrays, start, batch_size) for start in range(0, inputs - batch_size + 1, batch_size)]
    scorer.score(batches[0])  # not timed: the caches are full of the setting before
    return Slot(batch_size, [_time(scorer, batch) for batch in batches])


def _batch(arrays: Arrays, start: int, size: int) -> Arrays:
    return [arrays[index % len(arrays)] for index in range(start, start + size)]


def _time(scorer: Scorer, batch: Arrays) -> float:
    start = time.perf_counter()
    scorer.score(batch)
    return time.perf_counter() - start


def summarise_slots(setting: Setting, slots: Sequence[Slot]) -> Timing:
    """One setting's rounds: percentiles of all batches together, and the range of the rounds' own figures."""
    p50, p90, p99 = (
        float(value)
        for value in 1000 * np.percentile(np.concatenate([slot.seconds for slot in slots]), (50, 90, 99))
    )
    medians = [1000 * statistics.median(slot.seconds) for slot in slots]
    rates = [slot.samples_per_s for slot in slots]
    return Timing(
        setting,
        batches=sum(len(slot.seconds) for slot in slots),
        p50_ms=Spread(p50, min(medians), max(medians)),
        p90_ms=p90,
        p99_ms=p99,
        samples_per_s=Spread(statistics.median(rates), min(rates), max(rates)),
        rounds_ms=tuple(medians),
    )
