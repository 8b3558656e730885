from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.prepared import balance, spread


def test_balance_has_a_mean_of_one_over_the_samples() -> None:
    targets = np.array([0] * 75 + [1] * 25)
    weights = balance(targets, 2, "balanced")
    assert weights is not None
    assert weights[targets].mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("sizes", "choice", "weighted"),
    [
        ((60, 40), "auto", False),
        ((61, 40), "auto", True),
        ((90, 10), "none", False),
        ((50, 50), "balanced", True),
    ],
)
def test_balance_gives_weights_when_unbalanced_or_asked_for(
    sizes: tuple[int, int], choice: str, weighted: bool
) -> None:
    targets = np.repeat([0, 1], sizes)
    assert (balance(targets, 2, choice) is not None) is weighted


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=300).map(np.array), st.integers(1, 400))
def test_spread_chooses_about_so_many_and_leaves_out_no_class(targets: np.ndarray, limit: int) -> None:
    chosen = spread(targets, limit)
    assert np.array_equal(chosen, np.unique(chosen))
    assert set(targets[chosen]) == set(targets)
    assert min(limit, len(targets)) <= len(chosen) <= min(limit + len(set(targets)), len(targets))
