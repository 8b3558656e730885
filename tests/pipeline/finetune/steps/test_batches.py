from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.steps.batches import bucketed, shuffled

sizes = st.integers(1, 40)
lengths = st.lists(st.integers(1, 500), min_size=1, max_size=400).map(np.array)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(lengths, sizes, st.integers(0, 2**31))
def test_bucketed_meets_the_samples_that_shuffled_meets_once_each(
    found: np.ndarray, size: int, seed: int
) -> None:
    plain, buckets = shuffled(len(found), size, generator(seed)), bucketed(found, size, generator(seed))
    assert sorted(np.concatenate(plain)) == sorted(np.concatenate(buckets))
    assert len(set(np.concatenate(buckets))) == len(np.concatenate(buckets))
    assert sorted(np.concatenate(plain)) == list(range(len(found))), "no sample is left out"
    assert len(plain) == -(-len(found) // size)
    sizes = [len(batch) for batch in plain]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert max(len(batch) for batch in buckets) <= size


def test_bucketed_pads_little_where_shuffled_pads_much() -> None:
    found = np.random.default_rng(0).integers(5, 65, 6400)

    def waste(batches: list[np.ndarray]) -> float:
        return sum(len(b) * found[b].max() for b in batches) / sum(found[b].sum() for b in batches) - 1

    assert waste(bucketed(found, 32, generator(0))) < 0.05
    assert waste(shuffled(len(found), 32, generator(0))) > 0.5


def test_bucketed_orders_batches_by_chance_and_repeats_itself_when_the_seed_does() -> None:
    found = np.arange(1, 1601)
    first, again, other = (bucketed(found, 16, generator(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    means = np.array([found[batch].mean() for batch in first])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3, "lengths do not rise through an epoch"
