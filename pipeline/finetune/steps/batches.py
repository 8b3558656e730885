"""The order of training: which samples make up a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Batches = list[NDArray[np.int64]]
# Number of batches that are sorted together: enough that neighbours are of one length, few enough that chance
# still decides which samples meet in a batch.
WINDOW_BATCHES = 50


def balanced(targets: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """Return as many samples as there are, of each class equally many: indices, int64 of shape (samples,).

    A class that has fewer is passed over several times, each time in full before the next; one that has more
    gives a part of it, which chance chooses anew each time. Classes differ by one sample at most.

    Args:
        targets: Class indices of the samples, int64 of shape (samples,).
        generator: The source of chance.
    """
    classes = np.unique(targets)
    quotas = np.full(len(classes), len(targets) // len(classes))
    luckiest = torch.randperm(len(classes), generator=generator).numpy()
    quotas[luckiest[: len(targets) % len(classes)]] += 1
    drawn = []
    for label, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(targets == label)
        passes = [_permuted(members, generator) for _ in range(-(-int(quota) // len(members)))]
        drawn.append(np.concatenate(passes)[:quota])
    return np.concatenate(drawn)


def _permuted(indices: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """Return indices in a random order."""
    order: NDArray[np.int64] = torch.randperm(len(indices), generator=generator).numpy()
    return np.asarray(indices[order])


def shuffled(count: int, size: int, generator: torch.Generator) -> Batches:
    """Return batches of indices in a random order, each of shape (size,) or one less; every sample is in one.

    What does not fill a last batch is spread over all of them: a much smaller last batch would count its
    samples for more than others, and its batch statistics for nothing.

    Args:
        count: Number of samples.
        size: Largest number of samples in a batch.
        generator: The source of chance.
    """
    order = torch.randperm(count, generator=generator).numpy()
    return _parts(order, size)


def bucketed(lengths: NDArray[np.int64], size: int, generator: torch.Generator) -> Batches:
    """Return batches of indices of samples of similar length, in a random order; every sample is in one.

    The samples are shuffled, sorted by length within windows of 50 batches, and the batches shuffled again
    (as in transformers' ``group_by_length``).

    Args:
        lengths: Length of each sample, int64 of shape (samples,).
        size: Largest number of samples in a batch.
        generator: The source of chance.
    """
    order = torch.randperm(len(lengths), generator=generator).numpy()
    window = WINDOW_BATCHES * size
    batches: Batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        batches += _parts(part[np.argsort(lengths[part], kind="stable")], size)
    return [batches[index] for index in torch.randperm(len(batches), generator=generator)]


def _parts(order: NDArray[np.int64], size: int) -> Batches:
    """Cut indices into as few parts as have ``size`` at most, whose sizes differ by one at most."""
    return list(np.array_split(order, max(1, -(-len(order) // size))))
