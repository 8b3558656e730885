"""Temperature scaling (Guo et al., arXiv:1706.04599): one number that makes confidence mean what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A validation split without a mistake would drive the temperature to nothing, and every answer to certainty.
BOUNDS = (0.2, 20.0)


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of shape (samples, classes), of logits divided by the temperature, in float64."""
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def as_logits(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Logits that give these calibrated probabilities, (samples, classes): centred, since a softmax does not see a constant.

    A probability that is smaller than float32 can hold counts as the smallest that it can.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) * temperature
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def negative_log_likelihood(
    logits: NDArray[np.floating], targets: NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Mean negative log-likelihood of the targets, in nats."""
    chosen = softmax(logits, temperature)[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(chosen, 1e-12, None)).mean())


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """The temperature, within 0.2 to 20, that makes the targets most likely.

    Args:
        logits: Of samples that did not train the model: shape (samples, classes).
        targets: Their class indices, shape (samples,).
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, targets, float(np.exp(log_t))),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
    )
    return float(np.exp(found.x))


def reliability(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], bins: int = 15
) -> NDArray[np.float64]:
    """Confidence against accuracy in bins of equal width.

    Args:
        probabilities: Shape (samples, classes).
        targets: Class indices, shape (samples,).
        bins: How many bins lie in (0, 1].

    Returns:
        Shape (filled bins, 3): mean confidence, accuracy and share of the samples of each bin that is not
        empty.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
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
    """ECE of the top label: the mean gap of confidence and accuracy over the bins, weighted by their samples, in [0, 1]."""
    confidence, accuracy, share = reliability(probabilities, targets, bins).T
    return float((np.abs(confidence - accuracy) * share).sum())
