"""The speed of an artifact beside another, with one sample a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from pipeline.modalities.training import Readable
from serving.model.records import Speedup
from serving.model.scorer import Scorer

TIMED_SAMPLES = 64
ROUNDS = 5


def measure_speedup(source: Scorer, other: Scorer, samples: Sequence[Readable]) -> Speedup:
    """Measure how many times as fast another artifact is, one sample a run on one thread.

    Args:
        source: The artifact to compare with, on one thread.
        other: The other artifact, on one thread.
        samples: Samples, the first 64 of which are timed in five rounds that alternate between the two.

    Returns:
        The median, the lowest and the highest ratio of the rounds.
    """
    arrays = [source.decode(sample.read()).array for sample in samples[:TIMED_SAMPLES]]

    def seconds(scorer: Scorer) -> float:
        start = time.perf_counter()
        for array in arrays:
            scorer.score([array])
        return time.perf_counter() - start

    for scorer in (source, other):
        seconds(scorer)  # the first round, which is not counted, warms the caches
    ratios = [seconds(source) / seconds(other) for _ in range(ROUNDS)]
    return Speedup(median=statistics.median(ratios), low=min(ratios), high=max(ratios), samples=len(arrays))
