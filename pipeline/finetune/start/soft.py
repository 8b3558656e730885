"""What the samples of a run say of how training should count them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.files.samples import Sample


def soft_of(samples: Sequence[Sample]) -> NDArray[np.float32] | None:
    """Return the probability of each class, float32 of shape (samples, classes); None if there are none."""
    if not samples or samples[0].probabilities is None:
        return None
    return np.array([sample.probabilities for sample in samples], np.float32)


def weights_of(samples: Sequence[Sample]) -> NDArray[np.float32] | None:
    """Return the samples' weights, float32 of shape (samples,) with a mean of 1; None if there are none."""
    if not samples or samples[0].weight is None:
        return None
    weights = np.array([sample.weight for sample in samples], np.float64)
    weights /= max(weights.max(), np.finfo(np.float64).tiny)
    return np.asarray(weights / max(weights.mean(), np.finfo(np.float64).tiny), np.float32)


def masses_of(
    targets: NDArray[np.int64],
    soft: NDArray[np.float32] | None,
    weights: NDArray[np.float32] | None,
    classes: int,
) -> NDArray[np.float32] | None:
    """Return what each sample adds to each class: its probability of it, times the sample's weight.

    Args:
        targets: Class indices of the samples, int64 of shape (samples,).
        soft: Probability of each class, float32 of shape (samples, classes); None for one label a sample.
        weights: How much each sample counts, float32 of shape (samples,); None where all count alike.
        classes: Number of classes.

    Returns:
        float32 of shape (samples, classes); None where samples have neither probabilities nor weights.
    """
    if soft is None and weights is None:
        return None
    shares = np.eye(classes, dtype=np.float32)[targets] if soft is None else soft
    return shares if weights is None else shares * weights[:, None]
