"""The timing of batches: every setting is timed once a round, and every round has another order."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.benchmark.rows import Setting, Spread, Timing
from pipeline.reporting.progress import track

WARM_UP_BATCHES = 5
EXTENSIONS = 2  # how often the number of rounds is doubled while the choice is not clear
Arrays = Sequence[NDArray[Any]]


class Scorer(Protocol):
    """A model that can be timed; :class:`serving.model.predictor.Predictor` is one."""

    def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the probabilities of decoded inputs, float32 of shape (inputs, classes)."""
        ...


@dataclass(frozen=True)
class Slot:
    """The timing of one setting in one round.

    Attributes:
        batch_size: Inputs in each batch.
        seconds: The seconds that each batch took.
    """

    batch_size: int
    seconds: Sequence[float]

    @property
    def samples_per_s(self) -> float:
        """Speed in inputs a second."""
        return self.batch_size * len(self.seconds) / sum(self.seconds)


def measure_settings(
    scorers: Mapping[Setting, Scorer],
    arrays: Arrays,
    *,
    rounds: int,
    seconds: float,
    seed: int,
    is_clear: Callable[[Mapping[Setting, Timing]], bool] = lambda _: True,
) -> dict[Setting, Timing]:
    """Time every setting once a round.

    Each round shuffles the order anew, so that a machine's changes of pace hit all settings alike. Every
    setting gets the same inputs in every round: as many as fit into the seconds, and one batch of the largest
    size at least.

    Args:
        scorers: The model to time in each setting.
        arrays: Decoded inputs, which are gone through again if more are needed.
        rounds: Number of rounds.
        seconds: About how long these rounds together may take, in seconds.
        seed: Seed of the orders.
        is_clear: Whether the figures of the rounds so far are enough. While they are not, the settings of
            the smallest batch, by which settings are chosen, get as many rounds again, at most twice. By
            default they are.

    Returns:
        The figures of each setting.
    """
    inputs = _plan(scorers, arrays, seconds / rounds)
    random_order = random.Random(seed)  # noqa: S311 - an order, not a secret
    slots: dict[Setting, list[Slot]] = {setting: [] for setting in scorers}

    def time_rounds(count: int, settings: Sequence[Setting]) -> dict[Setting, Timing]:
        turns = [setting for _ in range(count) for setting in random_order.sample(settings, len(settings))]
        for setting in track(turns, total=len(turns), what="benchmark", unit="timings"):
            slots[setting].append(_time_slot(scorers[setting], arrays, inputs, setting.batch_size))
        return {setting: summarise_slots(setting, timed) for setting, timed in slots.items()}

    timings = time_rounds(rounds, list(scorers))
    least = min(setting.batch_size for setting in scorers)
    for extension in range(EXTENSIONS):
        if is_clear(timings):
            break
        timings = time_rounds(rounds * 2**extension, [each for each in scorers if each.batch_size == least])
    return timings


def _plan(scorers: Mapping[Setting, Scorer], arrays: Arrays, seconds: float) -> int:
    """Warm every setting up, and count the inputs that each can go through in a round.

    Args:
        scorers: The model to time in each setting.
        arrays: Decoded inputs.
        seconds: About how long all settings together may take in a round.

    Returns:
        A multiple of the largest batch size.
    """
    largest = max(setting.batch_size for setting in scorers)
    costs = []
    for setting, scorer in scorers.items():
        slot = _time_slot(scorer, arrays, WARM_UP_BATCHES * setting.batch_size, setting.batch_size)
        costs.append(statistics.mean(slot.seconds) / setting.batch_size)
    return max(largest, math.floor(seconds / sum(costs)) // largest * largest)


def _time_slot(scorer: Scorer, arrays: Arrays, inputs: int, batch_size: int) -> Slot:
    batches = [_batch(arrays, start, batch_size) for start in range(0, inputs - batch_size + 1, batch_size)]
    scorer.score(batches[0])  # it is not timed, since the caches are full of the setting before
    return Slot(batch_size, [_time(scorer, batch) for batch in batches])


def _batch(arrays: Arrays, start: int, size: int) -> Arrays:
    return [arrays[index % len(arrays)] for index in range(start, start + size)]


def _time(scorer: Scorer, batch: Arrays) -> float:
    start = time.perf_counter()
    scorer.score(batch)
    return time.perf_counter() - start


def summarise_slots(setting: Setting, slots: Sequence[Slot]) -> Timing:
    """Summarise the rounds of one setting.

    Args:
        setting: The setting.
        slots: Its timing in each round.

    Returns:
        Percentiles of the batches of all rounds together, and the range of the figures of single rounds.
    """
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
