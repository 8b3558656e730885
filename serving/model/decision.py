"""The answer that probabilities give: the one place that the service, the training and the proof share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def most_probable(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the index of the largest probability along the last axis; of equal ones the first.

    Args:
        probabilities: Probabilities of shape (classes,) or (samples, classes).

    Returns:
        Class indices: int64 of shape () or (samples,).
    """
    return np.asarray(probabilities.argmax(axis=-1))
