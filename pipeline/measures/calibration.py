"""Temperature scaling (Guo et al., arXiv:1706.04599): one number that makes confidence mean what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.classification import CLASSIFICATION

# A validation split without a mistake would drive the temperature to nothing, and every answer to certainty.
BOUNDS = (0.2, 20.0)


def as_logits(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return logits that give these calibrated probabilities, centred, since a softmax ignores a constant.

    A probability that is smaller than float32 can hold counts as the smallest that it can.

    Args:
        probabilities: Calibrated probabilities of shape (samples, classes).
        temperature: What the logits were divided by, above 0.

    Returns:
        The logits, float64 of shape (samples, classes), with a mean of 0 in each row.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) * temperature
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def negative_log_likelihood(
    logits: NDArray[np.floating], targets: NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Return the mean negative log-likelihood of the targets, in nats.

    Args:
        logits: Logits of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
        temperature: What the logits are divided by, above 0; 1 by default.
    """
    chosen = CLASSIFICATION.probabilities(logits, temperature)[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(chosen, 1e-12, None)).mean())


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """Return the temperature, within 0.2 to 20, that makes the targets most likely.

    Args:
        logits: Logits of samples that did not train the model, of shape (samples, classes).
        targets: Class indices of those samples, int64 of shape (samples,).
    """
    from scipy.optimize import minimize_scalar

    minimum = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, targets, float(np.exp(log_t))),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
    )
    return float(np.exp(minimum.x))


def reliability(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], bins: int = 15
) -> NDArray[np.float64]:
    """Return confidence against accuracy in bins of equal width.

    Args:
        probabilities: Probabilities of shape (samples, classes).
        targets: Class indices of shape (samples,).
        bins: Number of bins that (0, 1] is divided into; 15 by default.

    Returns:
        Mean confidence, accuracy and share of the samples of each bin that is not empty: float64 of shape
        (filled bins, 3).
    """
    confidence = CLASSIFICATION.confidences(probabilities)
    correct = CLASSIFICATION.answers(probabilities) == targets
    index = np.clip(np.ceil(np.clip(confidence, 0, 1) * bins).astype(int) - 1, 0, bins - 1)
    rows = [
        (confidence[index == b].mean(), correct[index == b].mean(), (index == b).mean())
        for b in range(bins)
        if (index == b).any()
    ]
    return np.array(rows)


def expected_calibration_error(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], bins: int = 15
) -> float:
    """Return the ECE of the most probable label, in [0, 1].

    It is the mean gap between confidence and accuracy over the bins, weighted by their samples.

    Args:
        probabilities: Probabilities of shape (samples, classes).
        targets: Class indices of shape (samples,).
        bins: Number of bins; 15 by default.
    """
    confidence, accuracy, share = reliability(probabilities, targets, bins).T
    return float((np.abs(confidence - accuracy) * share).sum())
