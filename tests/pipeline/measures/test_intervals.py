from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.measures.figures import macro_figures
from pipeline.measures.intervals import area_interval, draw_ece, macro_intervals, proportion_interval


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (2, 2), (7, 10), (0, 30), (99, 100)])
def test_proportion_interval_is_the_exact_one(right: int, count: int) -> None:
    exact = binomtest(right, count).proportion_ci(0.95, "exact")
    assert proportion_interval(right, count) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("sizes", [(1, 1), (15, 15), (50, 3), (1,) * 40])
def test_macro_intervals_do_not_claim_certainty_when_there_is_no_mistake(sizes: tuple[int, ...]) -> None:
    effective = len(sizes) ** 2 / sum(1 / size for size in sizes)
    for low, high in macro_intervals(np.diag(sizes)).values():
        assert (low, high) == (pytest.approx(0.025 ** (1 / effective)), 1.0)


def test_macro_intervals_equal_those_of_accuracy_when_classes_are_equal() -> None:
    counts = np.array([[8, 2], [2, 8]])
    low, high = macro_intervals(counts)["macro_recall"]
    assert (low, high) == pytest.approx(proportion_interval(16, 20), abs=0.02)


def test_macro_intervals_are_wide_when_a_small_class_decides() -> None:
    large = macro_intervals(np.array([[90, 10], [5, 95]]))["macro_f1"]
    small = macro_intervals(np.array([[180, 18], [1, 1]]))["macro_f1"]
    assert small[1] - small[0] > 3 * (large[1] - large[0])


@pytest.mark.parametrize("count", [2, 10, 30])
@pytest.mark.parametrize("recall", [0.5, 0.8, 0.95])
def test_macro_intervals_cover_the_truth_when_samples_are_few(count: int, recall: float) -> None:
    rng = np.random.default_rng(0)
    shares = np.array([[recall, 1 - recall], [1 - recall, recall]])
    truth = macro_figures(np.rint(shares * 1e9).astype(np.int64))["macro_f1"]
    drawn = [np.stack([rng.multinomial(count // 2, row) for row in shares]) for _ in range(300)]
    found = [macro_intervals(counts)["macro_f1"] for counts in drawn]
    assert np.mean([low <= truth <= high for low, high in found]) > 0.93


@pytest.mark.parametrize("area", [0.0, 0.5, 0.9, 1.0])
def test_area_interval_holds_the_area_and_narrows_with_more_samples(area: float) -> None:
    widths = []
    for count in (1, 5, 50, 5000):
        low, high = area_interval(area, count, count)
        assert 0 <= low <= area <= high <= 1
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.7
    assert 0 < widths[-1] < 0.03


def test_area_interval_is_the_same_seen_from_the_other_class() -> None:
    low, high = area_interval(0.9, 7, 20)
    assert area_interval(0.1, 20, 7) == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_draw_ece_knows_the_number_of_samples_when_no_answer_is_wrong() -> None:
    widths = []
    for count in (2, 20, 2000):
        probabilities = np.tile([0.9, 0.1], (count, 1))
        errors = draw_ece(probabilities, np.zeros(count, int), 2000, np.random.default_rng(0))
        low, high = np.quantile(errors, (0.025, 0.975))
        widths.append(high - low)
    assert widths[0] > 0.25
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.01
