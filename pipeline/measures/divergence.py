"""The divergence of one model's probabilities from another's, sample by sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.classification import CLASSIFICATION

SMALLEST = np.finfo(np.float32).tiny  # what float32 cannot hold of a probability is lost to what is served
Probabilities = NDArray[np.float64]


def kl_divergences(exact: Probabilities, judged: Probabilities) -> NDArray[np.float64]:
    """Return each sample's Kullback-Leibler divergence from the exact probabilities, in nats.

    Args:
        exact: The probabilities to compare with, float64 of shape (samples, classes).
        judged: The probabilities that are judged, of the same shape.

    Returns:
        The divergences, float64 of shape (samples,).
    """
    return np.asarray(
        (exact * (np.log(np.maximum(exact, SMALLEST)) - np.log(np.maximum(judged, SMALLEST)))).sum(axis=1)
    )


def cosines(exact: Probabilities, judged: Probabilities) -> NDArray[np.float64]:
    """Return the cosine of each sample's two vectors of probabilities, float64 of shape (samples,).

    It is 0 where a vector is all zeros, which points nowhere.
    """
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(judged, axis=1)
    products = (exact * judged).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))


def agreement(exact: Probabilities, judged: Probabilities) -> float:
    """Return the share of samples that get the same answer, in [0, 1]."""
    return float(CLASSIFICATION.agree(exact, judged).mean())
