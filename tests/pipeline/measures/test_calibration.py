from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.measures.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from pipeline.tasks.classification import CLASSIFICATION

softmax = CLASSIFICATION.probabilities


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 5.0))
def test_fit_temperature_finds_the_temperature_that_made_the_targets(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 3))
    uniform = rng.random((20_000, 1))
    targets = (softmax(logits, true_temperature).cumsum(axis=1) < uniform).sum(axis=1).clip(0, 2)
    assert fit_temperature(logits, targets) == pytest.approx(true_temperature, rel=0.06)


def test_fit_temperature_never_raises_the_loss() -> None:
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(0, 5, (200, 2)), rng.integers(0, 2, 200)
    assert (
        negative_log_likelihood(logits, targets, fit_temperature(logits, targets))
        <= negative_log_likelihood(logits, targets) + 1e-9
    )


def test_expected_calibration_error_of_known_cases() -> None:
    sure = np.array([[1.0, 0.0]] * 10)
    assert expected_calibration_error(sure, np.zeros(10, int)) == 0
    assert expected_calibration_error(sure, np.ones(10, int)) == 1
    assert expected_calibration_error(
        np.array([[0.8, 0.2]] * 10), np.array([0] * 8 + [1] * 2)
    ) == pytest.approx(0, abs=1e-9)
    assert expected_calibration_error(
        np.array([[0.8, 0.2]] * 10), np.array([0] * 5 + [1] * 5)
    ) == pytest.approx(0.3)


def test_reliability_shares_add_up_to_one() -> None:
    probabilities = softmax(np.random.default_rng(0).normal(0, 2, (500, 4)))
    assert reliability(probabilities, np.zeros(500, int))[:, 2].sum() == pytest.approx(1)
