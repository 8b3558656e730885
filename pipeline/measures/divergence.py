"""How far one model's probabilities are from another's, sample by sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST = np.finfo(np.float32).tiny  # what float32 cannot hold of a probability is lost to what is served
Probabilities = NDArray[np.float64]


def kl_divergences(exact: Probabilities, found: Probabilities) -> NDArray[np.float64]:
    """The Kullback-Leibler divergence of each row of probabilities (samples, classes), in nats: shape (samples,)."""
    return np.asarray(
        (exact * (np.log(np.maximum(exact, SMALLEST)) - np.log(np.maximum(found, SMALLEST)))).sum(axis=1)
    )


def cosines(exact: Probabilities, found: Probabilities) -> NDArray[np.float64]:
    """Return the cosine of each sample's two vectors of probabilities, of shape (samples,).

    It is 0 where a vector is all zeros, which points nowhere.
    """
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    products = (exact * found).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))


def agreement(exact: Probabilities, found: Probabilities) -> float:
    """The share of samples whose most probable class is the same."""
    return float((exact.argmax(axis=1) == found.argmax(axis=1)).mean())
