from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from pipeline.measures import guessing
from pipeline.measures.guessing import judge_guessing, least_p_value


def repeat(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_judge_guessing_is_fishers_test_when_there_are_two_classes(pairs: list[tuple[int, int]]) -> None:
    predicted, targets = np.array(pairs).T
    table = np.zeros((2, 2), int)
    np.add.at(table, (targets, predicted), 1)
    expected = fisher_exact(table, "greater")[1]
    assert judge_guessing(predicted, targets, 2, 0).p_value == pytest.approx(expected)


def test_judge_guessing_takes_all_orders_when_samples_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, predicted = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 2, 0])
    exact = judge_guessing(predicted, targets, 3, 0)
    monkeypatch.setattr(guessing, "ENUMERATED_SAMPLES", 0)
    drawn = judge_guessing(predicted, targets, 3, 0)
    assert (exact.random_orders, drawn.random_orders) == (0, 9999)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.01)


@pytest.mark.parametrize(
    ("sizes", "least"), [((1, 1), 1 / 2), ((2, 2), 1 / 6), ((3, 3), 1 / 20), ((1, 1, 1), 1 / 6), ((5, 0), 1)]
)
def test_least_p_value_is_that_of_answers_without_a_mistake(sizes: tuple[int, ...], least: float) -> None:
    assert least_p_value(np.array(sizes)) == pytest.approx(least)
    targets = repeat(*sizes)
    assert judge_guessing(targets, targets, len(sizes), 0).p_value == pytest.approx(least)


def test_judge_guessing_is_not_fooled_when_one_class_is_large() -> None:
    targets = repeat(950, 50)
    verdict = judge_guessing(np.zeros(1000, int), targets, 2, 0)
    assert (verdict.verdict, verdict.balanced_accuracy, verdict.p_value) == ("guessing", 0.5, 1.0)


@pytest.mark.parametrize(
    ("targets", "predicted", "classes", "verdict"),
    [
        (repeat(3, 3), repeat(3, 3), 2, "better"),
        (repeat(10, 10), np.array([0] * 8 + [1] * 2 + [1] * 8 + [0] * 2), 2, "better"),
        (repeat(20, 20, 20), np.random.default_rng(1).permutation(repeat(20, 20, 20)), 3, "guessing"),
        (repeat(1, 1), np.array([0, 1]), 2, "too_few_samples"),
        (repeat(1, 1), np.array([0, 0]), 2, "guessing"),
        (repeat(2, 2), np.array([0, 0, 0, 1]), 2, "too_few_samples"),
        (np.array([1]), np.array([1]), 3, "too_few_samples"),
        (np.array([1]), np.array([0]), 3, "guessing"),
        (np.arange(10), np.arange(10), 10, "better"),
        (np.arange(10), np.roll(np.arange(10), 1), 10, "guessing"),
        (repeat(0, 6, 6, 0), repeat(0, 6, 6, 0), 4, "better"),
    ],
)
def test_judge_guessing_has_three_verdicts(
    targets: np.ndarray, predicted: np.ndarray, classes: int, verdict: str
) -> None:
    assert judge_guessing(predicted, targets, classes, 0).verdict == verdict


def test_judge_guessing_lets_few_guessers_pass_when_answers_are_drawn_by_chance() -> None:
    rng = np.random.default_rng(0)
    targets = repeat(40, 15, 5)
    verdicts = [judge_guessing(rng.permutation(targets), targets, 3, seed).verdict for seed in range(100)]
    assert verdicts.count("better") <= 11  # 5 are expected; 12 or more would come in 0.4 % of such tests


def test_judge_guessing_ends_soon_when_samples_are_many() -> None:
    targets = np.random.default_rng(0).integers(0, 5, 110_000)
    found = judge_guessing(targets, targets, 5, 0)
    assert (found.verdict, found.random_orders, found.p_value) == ("better", 999, 1 / 1000)
