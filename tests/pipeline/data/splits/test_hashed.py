from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.cut import FREE, TEST, VALIDATION, Cut
from pipeline.data.splits.hashed import divide_by_hash, unit_hashes

CUT = Cut.of({VALIDATION: 0.15, TEST: 0.25})


@settings(deadline=None)
@given(points=st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=8, unique=True))
def test_divide_by_hash_moves_as_few_samples_as_possible(points: list[float]) -> None:
    size = len(points)
    drawn = CUT.draw(np.array(points))
    found = divide_by_hash(np.array(points), np.zeros(size, dtype=np.int64), None, CUT, np.full(size, FREE))
    low, high = (bound[0] for bound in CUT.bounds(np.array([size])))
    least = min(
        int(np.maximum(np.bincount(drawn, minlength=3) - np.array(counts), 0).sum())
        for counts in itertools.product(*(range(low[i], high[i] + 1) for i in range(3)))
        if sum(counts) == size
    )
    assert (found != drawn).sum() == least


def test_unit_hashes_are_uniform_and_differ_by_seed_and_purpose() -> None:
    names = [str(number) for number in range(20_000)]
    drawn = [unit_hashes(names, seed, purpose) for seed, purpose in ((0, "a"), (1, "a"), (0, "b"))]
    for points in drawn:
        assert points.min() >= 0
        assert points.max() < 1
        shares = np.histogram(points, bins=10, range=(0, 1))[0] / len(points)
        assert np.abs(shares - 0.1).max() < 0.01
    assert (
        max(abs(np.corrcoef(first, second)[0, 1]) for first, second in itertools.combinations(drawn, 2))
        < 0.05
    )
