"""The order of training: which samples make up a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Batches = list[NDArray[np.int64]]
# Number of batches that are sorted together: enough that neighbours are of one length, few enough that chance
# still decides which samples meet in a batch.
WINDOW_BATCHES = 50


def shuffled(count: int, size: int, generator: torch.Generator) -> Batches:
    """Return batches of indices in a random order, each of them int64 of shape (size,).

    A last batch that is not full is left to the next epoch's shuffle, unless it is all there is.

    Args:
        count: Number of samples.
        size: Number of samples in a batch.
        generator: The source of chance.
    """
    order = torch.randperm(count, generator=generator).numpy()
    size = min(size, count)
    return [order[start : start + size] for start in range(0, count - size + 1, size)]


def bucketed(lengths: NDArray[np.int64], size: int, generator: torch.Generator) -> Batches:
    """Return batches of indices of samples of similar length, in a random order.

    The samples are shuffled, sorted by length within windows of 50 batches, and the batches shuffled again
    (as in transformers' ``group_by_length``): an epoch meets every sample that :func:`shuffled` would meet.

    Args:
        lengths: Length of each sample, int64 of shape (samples,).
        size: Number of samples in a batch.
        generator: The source of chance.
    """
    order = np.concatenate(shuffled(len(lengths), size, generator))
    size = min(size, len(lengths))
    window = WINDOW_BATCHES * size
    batches: Batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[first : first + size] for first in range(0, len(part), size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator)]
