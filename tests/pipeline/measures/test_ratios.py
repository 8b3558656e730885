from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.measures.ratios import CONFIDENCE, LOOKS, RatioInterval, estimate_ratio


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=80), st.randoms())
def test_interval_holds_the_median_and_ignores_the_order(ratios: list[float], random: object) -> None:
    found = estimate_ratio(ratios)
    assert found.low <= found.median <= found.high
    assert found.rounds == len(ratios)
    assert estimate_ratio(random.sample(ratios, len(ratios))) == found  # type: ignore[attr-defined]
    assert (found.low == 0.0) == math.isinf(found.high) == (len(ratios) < LOOKS[0])


@pytest.mark.parametrize("rounds", LOOKS)
def test_interval_is_the_narrowest_of_the_sign_test(rounds: int) -> None:
    found = estimate_ratio([float(rank) for rank in range(1, rounds + 1)])
    outside = int(found.low) - 1
    assert found.high == rounds - outside

    def missed(count: int) -> float:
        return 2 * sum(math.comb(rounds, heads) for heads in range(count + 1)) / 2**rounds

    assert missed(outside) <= 1 - CONFIDENCE < missed(outside + 1)


def test_interval_holds_the_truth_as_often_as_it_says_whatever_the_noise() -> None:
    random = np.random.default_rng(0)
    rounds = np.exp(0.1 * random.standard_t(2, size=(2000, 16)))  # heavy tails, median 1
    held = [found.low <= 1 <= found.high for found in map(estimate_ratio, rounds)]
    assert np.mean(held) >= CONFIDENCE - 0.005


def test_one_disturbed_round_does_not_move_the_interval_of_sixteen() -> None:
    quiet = [1.2] * 15
    assert estimate_ratio([*quiet, 9.0]) == estimate_ratio([*quiet, 1.2])


@pytest.mark.parametrize(
    ("bound", "place"), [(1.0, "above"), (1.1, "above"), (1.2, "unclear"), (1.3, "unclear"), (1.4, "below")]
)
def test_place_is_that_of_the_whole_interval(bound: float, place: str) -> None:
    assert RatioInterval(1.2, 1.1, 1.3, 8).place(bound) == place
