"""LogME against the evidence itself, maximised directly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from pipeline.compare.logme import log_evidence


def largest_evidence(features: np.ndarray, target: np.ndarray) -> float:
    """The log evidence a sample: the labels are normal, with the features' covariance and noise."""
    identity, gram = np.eye(len(target)), features @ features.T

    def less(logs: np.ndarray) -> float:
        alpha, beta = np.exp(np.clip(logs, -20, 20))
        return -float(multivariate_normal.logpdf(target, cov=identity / beta + gram / alpha))

    starts = [np.array(start, float) for start in ((0, 0), (2, 2), (-2, 2), (4, 0))]
    found = [
        minimize(less, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
        for start in starts
    ]
    return -min(each.fun for each in found) / len(target)


@pytest.mark.parametrize(("samples", "width"), [(60, 5), (30, 50)])
def test_log_evidence_is_the_largest_that_any_precisions_give(samples: int, width: int) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, samples)
    features = rng.normal(size=(samples, width)) + targets[:, None] * rng.normal(size=width)
    expected = [largest_evidence(features, (targets == label).astype(float)) for label in range(3)]
    assert log_evidence(features.astype(np.float32), targets) == pytest.approx(np.mean(expected), abs=2e-4)


def test_log_evidence_is_higher_for_features_that_tell_the_classes_apart() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 80)
    noise = rng.normal(size=(80, 6))
    assert log_evidence(noise + 2 * targets[:, None], targets) > log_evidence(noise, targets) + 0.2


def test_log_evidence_is_a_number_where_features_are_repeated_and_labels_perfectly_told() -> None:
    targets = np.array([0, 1] * 10)
    features = np.repeat(targets[:, None], 4, axis=1).astype(np.float32)
    assert np.isfinite(log_evidence(features, targets))
