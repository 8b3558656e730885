"""One cut of samples into splits: their shares, intervals of the hash, and bounds on their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.files.samples import SPLITS

TRAIN, VALIDATION, TEST, CALIBRATION = range(len(SPLITS))  # the number of a split is its place in SPLITS
ORDER = (TEST, VALIDATION, CALIBRATION)  # of the intervals; those of train come last
FREE = -1  # stands for the split of a sample that may be moved
FIRST = np.array([0, 2, 1, 3])  # a label of few samples is in train first, then in test, then in validation
HELD_OUT_TOLERANCE = 0.5
TRAIN_TOLERANCE = 0.25
ROUNDING = 1e-9

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """The splits that samples are cut into. Arrays below have a column for each of them, in their order.

    Attributes:
        splits: Numbers of the splits; the last is that of ``train``.
        shares: Share of each split, float64 of shape (splits,); the sum is 1.
    """

    splits: tuple[int, ...]
    shares: Floats

    @classmethod
    def of(cls, shares: Mapping[int, float]) -> Cut:
        """Return the cut that takes shares of the samples for splits, and leaves the others to ``train``.

        Args:
            shares: Share of each split but ``train``, by its number; their sum is below 1.
        """
        held_out = tuple(split for split in ORDER if split in shares)
        given = [shares[split] for split in held_out]
        return cls((*held_out, TRAIN), np.array([*given, 1 - sum(given)]))

    @property
    def edges(self) -> Floats:
        """Where each interval of the hash ends, but for the last; float64 of shape (splits - 1,)."""
        return np.cumsum(self.shares[:-1])

    @property
    def needed(self) -> NDArray[np.bool_]:
        """Whether every label should be in each split, of shape (splits,)."""
        return np.array([split != CALIBRATION for split in self.splits])

    def draw(self, points: Floats) -> Integers:
        """Return the column of the split whose interval holds each point of [0, 1)."""
        return np.searchsorted(self.edges, points, side="right").astype(np.int64)

    def column_of(self, splits: Integers) -> Integers:
        """Return the column of each split number; of a free sample, ``FREE``."""
        columns = np.full(len(SPLITS) + 1, FREE)  # the last entry is that of FREE, which is -1
        columns[list(self.splits)] = np.arange(len(self.splits))
        return columns[splits]

    def bounds(self, sizes: Integers, *, every: bool = True) -> tuple[Integers, Integers]:
        """Return the least and the greatest number of samples that each split may get of sets of samples.

        A split may have half more or less than its share, and ``train`` a quarter. The whole numbers next to
        the share are always within the bounds, so that some division is.

        Args:
            sizes: Number of samples of each set, int64 of shape (sets,).
            every: Whether at least one sample of each set is wanted in each split that needs every label. A
                set of fewer samples is wanted in as many splits as it has samples, ``train`` first.

        Returns:
            Two arrays, int64 of shape (sets, splits).
        """
        shares = sizes[:, None] * self.shares
        held_out = np.array(self.splits) != TRAIN
        tolerance = np.where(held_out, HELD_OUT_TOLERANCE, TRAIN_TOLERANCE)
        least = self.needed & every
        low = np.minimum(np.floor(shares + ROUNDING), np.ceil((1 - tolerance) * shares - ROUNDING))
        high = np.maximum(np.ceil(shares - ROUNDING), np.floor((1 + tolerance) * shares + ROUNDING))
        low, high = np.maximum(low, least).astype(np.int64), np.maximum(high, least).astype(np.int64)
        rank = FIRST[list(self.splits)] / len(SPLITS)
        while (excessive := np.flatnonzero(low.sum(axis=1) > sizes)).size:
            low[excessive, (low[excessive] + rank).argmax(axis=1)] -= 1
        return low, high
