"""How fast an artifact is beside another, one sample a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from pipeline.modalities.training import Readable
from serving.model.predictor import Predictor

TIMED_SAMPLES = 64
ROUNDS = 5


def measure_speedup(source: Predictor, other: Predictor, samples: Sequence[Readable]) -> dict[str, float]:
    """How many times as fast another artifact is, one sample a run on one thread, in interleaved rounds: median and range."""
    arrays = [source.decode(sample.read()).array for sample in samples[:TIMED_SAMPLES]]

    def seconds(predictor: Predictor) -> float:
        start = time.perf_counter()
        for array in arrays:
            predictor.score([array])
        return time.perf_counter() - start

    for predictor in (source, other):
        seconds(predictor)
    ratios = [seconds(source) / seconds(other) for _ in range(ROUNDS)]
    return {
        "median": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "samples": len(arrays),
    }
