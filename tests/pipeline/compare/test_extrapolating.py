"""What a learning curve says of more samples, and when it must say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compare.curve import Curve, Point
from pipeline.compare.extrapolating import fit_laws, look_ahead, sentence_of
from pipeline.compare.records import to_digits

SIZES = (100, 200, 400, 1000)


def curve_of(errors: dict[int, float], validation: int = 2000, draws: int = 8, seed: int = 0) -> Curve:
    """A curve whose heads fail on the hardest samples of validation, but for some noise."""
    hardness = np.random.default_rng(99).permutation(validation) / validation
    rng = np.random.default_rng(seed)
    whole = max(errors)
    points = []
    for samples, error in errors.items():
        count = 1 if samples == whole else draws
        shifts = rng.normal(0, 0.02 * error * (100 / samples) ** 0.5, count)
        rights = tuple(to_digits(1 - hardness > error + shift) for shift in shifts)
        points.append(Point(samples=samples, rights=rights))
    return Curve(points=tuple(points))


def power_law(floor: float, scale: float, exponent: float) -> dict[int, float]:
    return {samples: floor + scale * samples**-exponent for samples in SIZES}


def test_laws_are_found_again() -> None:
    ratios = np.array([0.05, 0.1, 0.3, 1.0])
    curves = np.stack([0.1 + 0.05 * ratios**-0.5, 0.2 + 0.02 * ratios**-1.0, np.full(4, 0.3)])
    laws = fit_laws(ratios, curves)
    assert laws.errors(1.0) == pytest.approx([0.15, 0.22, 0.3], abs=2e-3)
    assert laws.errors(4.0) == pytest.approx([0.125, 0.205, 0.3], abs=3e-3)


def test_laws_never_fall_below_no_error_nor_rise() -> None:
    ratios = np.array([0.1, 0.3, 1.0])
    laws = fit_laws(ratios, np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.3]]))
    assert (laws.errors(100.0) >= 0).all()
    assert laws.errors(4.0)[1] == pytest.approx(0.2)


def test_gain_of_twice_the_samples_is_told_where_the_curve_still_falls() -> None:
    outlook = look_ahead(curve_of(power_law(0.02, 3.0, 0.5)), None, seed=0)
    twice, four = outlook.ahead
    true = 0.02 + 3.0 * 2000**-0.5
    assert twice.is_told
    assert twice.interval[0] < true < twice.interval[1]
    assert four.error < twice.error
    assert "points of accuracy (95 % interval" in sentence_of(outlook)


def test_gain_is_not_told_where_the_curve_is_flat() -> None:
    outlook = look_ahead(curve_of(dict.fromkeys(SIZES, 0.2), validation=300), None, seed=0)
    assert not outlook.ahead[0].is_told
    assert "cannot be told whether they help" in sentence_of(outlook)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    true = 0.05 + 1.0 * 2000**-0.35
    held = [
        low < true < high
        for low, high in (
            look_ahead(curve_of(power_law(0.05, 1.0, 0.35), seed=seed), None, seed).ahead[0].interval
            for seed in range(12)
        )
    ]
    assert sum(held) >= 10


def test_two_sizes_are_too_few() -> None:
    outlook = look_ahead(curve_of({100: 0.3, 1000: 0.1}), None, seed=0)
    assert outlook.ahead == ()
    assert "is not known" in sentence_of(outlook)


def test_no_error_leaves_nothing_to_say() -> None:
    outlook = look_ahead(curve_of(dict.fromkeys(SIZES, 0.0), validation=50, draws=3), None, seed=0)
    assert "no sample of validation is answered wrongly" in sentence_of(outlook)


def test_larger_model_is_better_where_it_gains_more() -> None:
    own, larger = curve_of(power_law(0.19, 0.1, 0.5)), curve_of(power_law(0.05, 0.1, 0.5))
    assert sentence_of(look_ahead(own, ("big", larger), 0)).startswith("A larger model helps more")


def test_more_data_are_better_where_they_gain_more() -> None:
    own, larger = curve_of(power_law(0.0, 6.0, 0.5)), curve_of(power_law(0.0, 6.0, 0.5), seed=1)
    assert sentence_of(look_ahead(own, ("big", larger), 0)).startswith("More data would help more")


def test_it_is_not_decided_where_neither_is_ahead_beyond_chance() -> None:
    own, larger = curve_of(dict.fromkeys(SIZES, 0.2), 200), curve_of(dict.fromkeys(SIZES, 0.2), 200, seed=1)
    assert "cannot be told" in sentence_of(look_ahead(own, ("big", larger), 0))
