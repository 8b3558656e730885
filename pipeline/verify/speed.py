"""The speed of an artifact beside another, with one sample a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline.files.samples import evenly
from pipeline.measures.ratios import LOOKS, RatioInterval, estimate_ratio
from pipeline.modalities.training import Readable
from serving.model.records import Speedup
from serving.model.scorer import Scorer

TIMED_SAMPLES = 16
MAX_SECONDS = 120.0  # of one comparison; only models of more than 30 ms a run reach it
Clock = Callable[[], float]
Arrays = Sequence[NDArray[Any]]


def measure_speedup(source: Scorer, other: Scorer, samples: Sequence[Readable], bound: float) -> Speedup:
    """Measure how many times as fast another artifact is, one sample a run on one thread.

    A round times both artifacts twice on the same samples, in the order A B B A or B A A B, so that a pace
    of the machine that rises or falls steadily cancels. There are eight rounds, and up to 64 while the
    interval of their ratios contains the bound.

    Args:
        source: The artifact to compare with, on one thread.
        other: The other artifact, on one thread.
        samples: Samples, of which 16 that are evenly spread are timed.
        bound: The speed that the comparison is to decide about, in times that of the source.

    Returns:
        The median ratio of the rounds with its interval.
    """
    chosen = [samples[index] for index in evenly(len(samples), TIMED_SAMPLES)]
    arrays = [source.decode(sample.read()).array for sample in chosen]
    rounds = _Rounds(source, other, arrays, _choose_clock(source, other))
    found = _compare(rounds, bound)
    return Speedup(
        median=found.median, low=found.low, high=found.high, samples=len(arrays), rounds=found.rounds
    )


def _choose_clock(source: Scorer, other: Scorer) -> Clock:
    """Return the clock that other processes disturb least.

    On CPUs that is the CPU time of this process: a run on one thread waits for nothing, so its CPU time is
    what a caller waits on an idle machine, and the time that other processes take is not in it. The time of
    the calling thread would not do, because OpenVINO computes on a thread of its own. An accelerator's work
    is no CPU time; where either artifact runs on one, both are timed by the clock on the wall.
    """
    on_cpu = all(scorer.artifact.runtime.endswith("-cpu") for scorer in (source, other))
    return time.process_time if on_cpu else time.perf_counter


@dataclass(frozen=True)
class _Rounds:
    """The rounds of a comparison."""

    source: Scorer
    other: Scorer
    arrays: Arrays
    clock: Clock

    def warm_up(self) -> None:
        for scorer in (self.source, self.other):
            self._seconds(scorer)

    def ratio(self, number: int) -> float:
        """Return the ratio of a round; every second one begins with the other artifact."""
        spent = {"A": 0.0, "B": 0.0}
        for turn in "ABBA" if number % 2 == 0 else "BAAB":
            spent[turn] += self._seconds(self.source if turn == "A" else self.other)
        return spent["A"] / spent["B"]

    def _seconds(self, scorer: Scorer) -> float:
        start = self.clock()
        for array in self.arrays:
            scorer.score([array])
        return max(self.clock() - start, 1e-9)


def _compare(rounds: _Rounds, bound: float) -> RatioInterval:
    """Measure until the interval leaves out the bound, at one of the looks, or time or rounds are up."""
    rounds.warm_up()
    ends, ratios = time.monotonic() + MAX_SECONDS, list[float]()
    for look in LOOKS:
        ratios += [rounds.ratio(number) for number in range(len(ratios), look)]
        found = estimate_ratio(ratios)
        if found.place(bound) != "unclear" or time.monotonic() > ends:
            break
    return found
