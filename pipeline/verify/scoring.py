"""An artifact's answers to original bytes, alone and in batches, through the code that serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.files.samples import evenly
from pipeline.modalities.training import Readable
from pipeline.reporting.progress import track
from serving.model.runtimes.machine import cpu_limit
from serving.model.scorer import Scorer

BATCH_SIZES = (2, 7, 32)
BATCHED_SAMPLES = 1024  # of a larger split as many, evenly spread, are scored in batches too
CHUNK = 224  # the least common multiple of the batch sizes: only the last chunk has partial batches
Originals = Mapping[str, Readable]  # samples by their content hash


@dataclass(frozen=True)
class Scores:
    """An artifact's probabilities, float32 of shape (samples, classes).

    Attributes:
        single: Of every sample, one a run, as the service runs them.
        batched: Of some of them, in batches of each size that the artifact runs; texts among others of other
            lengths, and so padded.
        chosen: The indices of those, shape (samples in batches,).
    """

    single: NDArray[np.float32]
    batched: dict[int, NDArray[np.float32]]
    chosen: NDArray[np.int64]


def score(scorer: Scorer, samples: Sequence[Readable]) -> Scores:
    """Every sample alone; and, of at most about a thousand that are evenly spread, each in batches."""
    most = scorer.artifact.max_batch_size or max(BATCH_SIZES)
    batched: dict[int, list[NDArray[np.float32]]] = {size: [] for size in BATCH_SIZES if size <= most}
    chosen = evenly(len(samples), BATCHED_SAMPLES)
    single = score_alone(scorer, samples, "verify")
    with ThreadPoolExecutor(cpu_limit()) as pool:
        for start in range(0, len(chosen) if batched else 0, CHUNK):
            arrays = [scorer.decode(samples[index].read()).array for index in chosen[start : start + CHUNK]]
            for size in batched:
                batched[size] += pool.map(
                    scorer.score, (arrays[first : first + size] for first in range(0, len(arrays), size))
                )
    return Scores(single, {size: np.concatenate(parts) for size, parts in batched.items()}, chosen)


def score_alone(scorer: Scorer, samples: Sequence[Readable], what: str) -> NDArray[np.float32]:
    """Each sample in a run of its own: float32 of shape (samples, classes)."""

    def alone(sample: Readable) -> NDArray[np.float32]:
        return scorer.score([scorer.decode(sample.read()).array])

    with ThreadPoolExecutor(cpu_limit()) as pool:
        return np.concatenate(
            list(track(pool.map(alone, samples), total=len(samples), what=what, unit="samples"))
        )
