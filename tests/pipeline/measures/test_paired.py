"""Paired differences of two models' answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from pipeline.measures.paired import compare_answers, score_interval

RIGHT, WRONG = 1, 0


def answers(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of two models of which so many are right, and the targets, which are all 1."""
    ours = np.repeat([RIGHT, RIGHT, WRONG, WRONG], [both, first, second, neither])
    theirs = np.repeat([RIGHT, WRONG, RIGHT, WRONG], [both, first, second, neither])
    return ours, theirs, np.ones(len(ours), np.int64)


@pytest.mark.parametrize(("first", "second", "samples"), [(0, 1, 44), (5, 2, 30), (43, 12, 600), (3, 3, 50)])
def test_score_interval_ends_where_the_score_test_of_the_constrained_likelihood_does(
    first: int, second: int, samples: int
) -> None:
    for end in score_interval(first, second, samples):

        def unlikeliness(share: float, end: float = end) -> float:
            """Negative log-likelihood of `share`, the probability that only the second is right."""
            rest = 1 - 2 * share - end
            logs = np.log([share + end, share, rest])
            return -float(np.array([first, second, samples - first - second]) @ logs)

        bounds = (max(0.0, -end) + 1e-12, (1 - end) / 2 - 1e-12)
        share = minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        error = np.sqrt((2 * share + end - end**2) / samples)
        assert abs((first - second) / samples - end) / error == pytest.approx(1.959964, rel=1e-4)


def test_score_interval_knows_the_number_of_samples_when_no_answers_differ() -> None:
    z_squared = 1.959964**2
    for samples in (4, 100, 10_000):
        half = z_squared / (samples + z_squared)
        assert score_interval(0, 0, samples) == pytest.approx((-half, half), rel=1e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_compare_answers_is_mcnemars_exact_test_and_turns_around_with_the_models(
    both: int, first: int, second: int, neither: int
) -> None:
    if both + first + second + neither == 0:
        return
    ours, theirs, targets = answers(both, first, second, neither)
    found = compare_answers(ours, theirs, targets, by_class=False, seed=0)
    other = compare_answers(theirs, ours, targets, by_class=False, seed=0)
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert found.p_value == pytest.approx(expected)
    low, high = found.interval_95
    assert -1 <= low <= found.difference <= high <= 1
    assert other.difference == pytest.approx(-found.difference)
    assert other.interval_95 == pytest.approx((-high, -low), abs=1e-6)
    assert found.is_significant == (not low <= 0 <= high)


def test_compare_answers_tells_the_smallest_difference_that_would_have_been_significant() -> None:
    for first in range(1, 12):
        found = compare_answers(*answers(100, first, 0, 0), by_class=False, seed=0)
        assert found.is_significant == (first >= 6)
        assert found.smallest >= 6 / (100 + first)


def test_compare_answers_by_class_is_the_difference_of_the_mean_recalls() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], [180, 20])
    ours, theirs = (np.where(rng.random(200) < share, targets, 1 - targets) for share in (0.9, 0.7))
    found = compare_answers(ours, theirs, targets, by_class=True, seed=0)
    recalls = [np.mean([np.mean(each[targets == c] == c) for c in (0, 1)]) for each in (ours, theirs)]
    assert found.difference == pytest.approx(recalls[0] - recalls[1])
    low, high = found.interval_95
    plain = compare_answers(ours, theirs, targets, by_class=False, seed=0).interval_95
    assert (
        high - low > plain[1] - plain[0]
    )  # the small class counts as much as the large one, and is less sure


def test_compare_answers_by_class_equals_plain_when_classes_are_equal_in_size_and_discordance() -> None:
    targets = np.tile([0, 1], 100)
    ours, theirs = targets.copy(), targets.copy()
    theirs[:20] = 1 - theirs[:20]
    plain = compare_answers(ours, theirs, targets, by_class=False, seed=0)
    by_class = compare_answers(ours, theirs, targets, by_class=True, seed=0)
    assert by_class.difference == pytest.approx(plain.difference)
    assert by_class.p_value == pytest.approx(plain.p_value)
    assert by_class.interval_95 == pytest.approx(plain.interval_95, abs=2e-3)


def test_compare_answers_errs_at_most_at_its_level_when_models_are_equally_good() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for seed in range(400):
        targets = (rng.random(120) < 0.2).astype(np.int64)
        ours, theirs = (np.where(rng.random(120) < 0.8, targets, 1 - targets) for _ in range(2))
        wrong += compare_answers(ours, theirs, targets, by_class=bool(seed % 2), seed=seed).is_significant
    assert wrong <= 400 * 0.05 + 2 * (400 * 0.05 * 0.95) ** 0.5
