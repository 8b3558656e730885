"""LogME: the evidence of the labels given frozen features, as a number that ranks backbones in a second.

You et al., LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021
(arXiv:2102.11005): for each class a Bayesian linear regression of its indicator on the features, whose prior
precision ``alpha`` and noise precision ``beta`` maximise the evidence; the mean of the logarithms, a sample.
On real backbones it ranks worse than a linear probe (arXiv:2510.06448), so it is shown and decides nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 100
TOLERANCE = 1e-6
LEAST = 1e-12


def log_evidence(features: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """Return LogME: the mean over the classes of the largest log evidence, a sample.

    Args:
        features: Features of the frozen backbone, of shape (samples, features).
        targets: Class indices, int64 of shape (samples,).
    """
    left, singular, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    found = [
        _maximise(left, singular, (targets == label).astype(np.float64), features.shape[1])
        for label in np.unique(targets)
    ]
    return float(np.mean(found))


def _maximise(
    left: NDArray[np.float64], singular: NDArray[np.float64], target: NDArray[np.float64], width: int
) -> float:
    """Return the largest log evidence of one class, a sample, by MacKay's fixed point.

    Args:
        left: The left singular vectors of the features, of shape (samples, rank).
        singular: The singular values, of shape (rank,).
        target: 1.0 for samples of the class, else 0.0, of shape (samples,).
        width: Number of features.
    """
    count, squares = len(target), singular**2
    projected = left.T @ target
    outside = float(target @ target - projected @ projected)  # what no weights can explain
    alpha = beta = 1.0
    for _ in range(ITERATIONS):
        shares = squares / (squares + alpha / beta)
        effective = float(shares.sum())
        weights = float(((shares * projected / np.maximum(singular, LEAST)) ** 2).sum())
        residual = float((((1 - shares) * projected) ** 2).sum()) + max(outside, 0.0)
        ratio = alpha / beta
        alpha = effective / max(weights, LEAST)
        beta = (count - effective) / max(residual, LEAST)
        if abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
    return evidence_at(alpha, beta, squares, projected, outside, count, width) / count


def evidence_at(
    alpha: float,
    beta: float,
    squares: NDArray[np.float64],
    projected: NDArray[np.float64],
    outside: float,
    count: int,
    width: int,
) -> float:
    """Return the log evidence of a Bayesian linear regression, in nats (Bishop 2006, eq. 3.86).

    Args:
        alpha: Precision of the weights' prior, above 0.
        beta: Precision of the noise, above 0.
        squares: Squares of the features' singular values, of shape (rank,).
        projected: The target on the left singular vectors, of shape (rank,).
        outside: Squared length of the target outside of these.
        count: Number of samples.
        width: Number of features.
    """
    shares = squares / (squares + alpha / beta)
    weights = float((shares**2 * projected**2 / np.maximum(squares, LEAST)).sum())
    residual = float((((1 - shares) * projected) ** 2).sum()) + max(outside, 0.0)
    determinant = float(np.log(alpha + beta * squares).sum()) + (width - len(squares)) * np.log(alpha)
    doubled = (
        width * np.log(alpha)
        + count * np.log(beta / (2 * np.pi))
        - beta * residual
        - alpha * weights
        - determinant
    )
    return float(doubled) / 2
