"""Division by group: all samples of a group, such as a patient, are in one split.

A group's hash says where it goes. Where that leaves a label out of a split, or a split far from its share,
groups are moved or exchanged, one step at a time, always the step that helps most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.splits.cut import FREE, TRAIN, Cut, Floats, Integers

MOST_STEPS = 2000
MOST_PASSES = 5
CONSIDERED = 64  # groups that are tried for one step
EXCHANGED = 24  # groups of each side that are tried for an exchange
UNTRAINED, ABSENT, SIZE, MIX = 1e6, 1e3, 100.0, 1.0  # costs: what comes first is mended first


@dataclass(frozen=True)
class Contents:
    """How many samples of each label each group has: one entry for each label that a group has.

    Attributes:
        groups: Number of each entry's group, rising, int64 of shape (entries,).
        labels: Number of each entry's label, of the same shape.
        counts: Number of samples of each entry, of the same shape.
        starts: Where the entries of each group begin, and the number of entries, of shape (groups + 1,).
        holders: The groups of each label.
        label_count: Number of labels.
    """

    groups: Integers
    labels: Integers
    counts: Integers
    starts: Integers
    holders: list[Integers]
    label_count: int

    @classmethod
    def of(cls, groups: Integers, labels: Integers) -> Contents:
        """Return what the groups of some samples hold.

        Args:
            groups: Number of the group of each sample; every number from 0 to the greatest is there.
            labels: Number of the label of each sample; the same holds.
        """
        width = int(labels.max()) + 1
        entries, counts = np.unique(groups * width + labels, return_counts=True)
        owners, held = entries // width, entries % width
        starts = np.searchsorted(owners, np.arange(int(groups.max()) + 2))
        order = np.argsort(held, kind="stable")
        holders = np.split(owners[order], np.searchsorted(held[order], np.arange(1, width)))
        return cls(owners, held, counts, starts, holders, width)

    @property
    def sizes(self) -> Integers:
        """Number of samples of each group."""
        return np.bincount(self.groups, weights=self.counts).astype(np.int64)

    def rows(self, groups: Integers) -> Integers:
        """Return the number of samples of each label of some groups, of shape (groups, labels)."""
        rows = np.zeros((len(groups), self.label_count), dtype=np.int64)
        for row, group in enumerate(groups):
            entries = slice(self.starts[group], self.starts[group + 1])
            rows[row, self.labels[entries]] = self.counts[entries]
        return rows

    def totals(self, columns: Integers, splits: int) -> Integers:
        """Return the number of samples of each label in each split, of shape (splits, labels)."""
        places = columns[self.groups] * self.label_count + self.labels
        flat = np.bincount(places, weights=self.counts, minlength=splits * self.label_count)
        return flat.astype(np.int64).reshape(splits, self.label_count)


def divide_by_group(points: Floats, contents: Contents, cut: Cut, fixed: Integers) -> Integers:
    """Return the column of the split of each group.

    Args:
        points: Hash of each group in [0, 1), of shape (groups,).
        contents: What the groups hold.
        cut: The splits.
        fixed: Column of the split that a group keeps, or ``FREE``, of shape (groups,).
    """
    free = fixed == FREE
    columns = np.where(free, _draw(points, contents, cut), fixed)
    return _Search(points, contents, cut, free, columns).run()


def _draw(points: Floats, contents: Contents, cut: Cut) -> Integers:
    """Draw the column of each group by its hash.

    A group that is too large for any split but ``train`` trains. The intervals of the others are wider then,
    so that the splits keep their sizes.
    """
    sizes = contents.sizes
    highest = cut.bounds(np.array([sizes.sum()]))[1][0]
    giant = sizes > max([*highest[:-1]], default=0)
    left = sizes[~giant].sum()
    if not giant.any() or not left:
        return np.where(giant, len(cut.splits) - 1, cut.draw(points))
    wider = cut.edges * sizes.sum() / left
    edges = wider / max(1.0, wider[-1])
    return np.where(giant, len(cut.splits) - 1, np.searchsorted(edges, points, side="right")).astype(np.int64)


class _Search:
    """The steps that bring the groups' splits closer to what is wanted.

    Args:
        points: Hash of each group.
        contents: What the groups hold.
        cut: The splits.
        free: Whether each group may move.
        columns: Column of each group; it changes.
    """

    def __init__(
        self, points: Floats, contents: Contents, cut: Cut, free: NDArray[np.bool_], columns: Integers
    ) -> None:
        self._points, self._contents, self._cut, self._free = points, contents, cut, free
        self._columns = columns
        self._totals = contents.totals(columns, len(cut.splits))
        of_labels = self._totals.sum(axis=0)
        low, high = cut.bounds(of_labels)
        self._low, self._high = low.T, high.T
        whole_low, self._whole_high = (each[0] for each in cut.bounds(of_labels.sum(keepdims=True)))
        self._whole_low = np.maximum(whole_low, 1)
        self._of_labels, self._whole = np.maximum(of_labels, 1), int(of_labels.sum())
        holders = np.array([len(groups) for groups in contents.holders])
        self._wanted = cut.bounds(holders)[0].T > 0  # a label is wanted in as many splits as have its groups
        self._few = np.argsort(holders, kind="stable")

    def run(self) -> Integers:
        """Take steps as long as one helps, and return the column of each group."""
        steps = 0
        for _ in range(MOST_PASSES):
            before = steps
            for column, label in list(self._faults()):
                while steps < MOST_STEPS and self._excess(column, label) and self._mend(column, label):
                    steps += 1
            if steps == before:
                break
        return self._columns

    def _faults(self) -> Iterator[tuple[int, int | None]]:
        """Yield the column and label of what is not as wanted; None stands for all labels.

        Labels that are absent come first, those of few groups before others, then sizes, then the mix.
        """
        absent = self._wanted & (self._totals == 0)
        for column in reversed(range(len(self._cut.splits))):
            yield from ((column, int(label)) for label in self._few[absent[column, self._few]])
        sizes = self._totals.sum(axis=1)
        wrong = np.flatnonzero((sizes < self._whole_low) | (sizes > self._whole_high))
        yield from ((int(column), None) for column in wrong)
        outside = (self._totals < self._low) | (self._totals > self._high)
        yield from ((int(column), int(label)) for column, label in np.argwhere(outside & ~absent))

    def _mend(self, column: int, label: int | None) -> bool:
        """Take the best step for one fault, and return whether one helps."""
        groups = np.arange(len(self._points)) if label is None else self._contents.holders[label]
        groups = groups[self._free[groups]]
        inside = self._columns[groups] == column
        there, elsewhere = (self._nearest(part, column) for part in (groups[inside], groups[~inside]))
        few = self._excess(column, label) < 0
        moves = (
            [(elsewhere, np.full(len(elsewhere), column))]
            if few
            else [(there, np.full(len(there), to)) for to in range(len(self._cut.splits)) if to != column]
        )
        if any(self._take_best(moved, targets) for moved, targets in moves if len(moved)):
            return True
        return self._exchange(column, elsewhere if few else there)

    def _excess(self, column: int, label: int | None) -> int:
        """Return how many samples too many a split has, of a label or of all; below 0 are those it lacks."""
        if label is None:
            count, low, high = self._totals[column].sum(), self._whole_low[column], self._whole_high[column]
        else:
            count, high = self._totals[column, label], self._high[column, label]
            low = max(self._low[column, label], self._wanted[column, label])
        return int(max(count - high, 0) + min(count - low, 0))

    def _nearest(self, groups: Integers, column: int) -> Integers:
        """Return the groups whose hash is nearest to a split's interval."""
        edges = np.array([0.0, *self._cut.edges, 1.0])
        points = self._points[groups]
        away = np.maximum(np.maximum(edges[column] - points, points - edges[column + 1]), 0)
        return groups[np.argsort(away, kind="stable")[:CONSIDERED]]

    def _take_best(self, groups: Integers, targets: Integers) -> bool:
        """Move the group that helps most to its target, and return whether one helps."""
        rows, sources = self._contents.rows(groups), self._columns[groups]
        gains = self._gains(sources, targets, rows)
        best = int(gains.argmin())
        if gains[best] >= -1e-9:
            return False
        self._change(groups[best], int(targets[best]))
        return True

    def _exchange(self, column: int, groups: Integers) -> bool:
        """Exchange two groups, of which one is or will be in a column, if that helps."""
        ours = groups[:EXCHANGED]
        others = np.flatnonzero(self._free)
        others = self._nearest(others, column)[:EXCHANGED] if len(others) > EXCHANGED else others
        first, second = (each.ravel() for each in np.meshgrid(ours, others))
        different = self._columns[first] != self._columns[second]
        first, second = first[different], second[different]
        if not len(first):
            return False
        rows = self._contents.rows(first) - self._contents.rows(second)
        gains = self._gains(self._columns[first], self._columns[second], rows)
        best = int(gains.argmin())
        if gains[best] >= -1e-9:
            return False
        one, other = int(self._columns[first[best]]), int(self._columns[second[best]])
        self._change(first[best], other)
        self._change(second[best], one)
        return True

    def _gains(self, sources: Integers, targets: Integers, rows: Integers) -> Floats:
        """Return by how much the cost changes when each row of samples goes from one column to another."""
        before = self._cost(np.arange(len(self._totals)), self._totals)
        after = self._cost(sources, self._totals[sources] - rows)
        after += self._cost(targets, self._totals[targets] + rows)
        return after - before[sources] - before[targets]

    def _cost(self, columns: Integers, totals: Integers) -> Floats:
        """Return what is wrong with splits that would have so many samples of each label, for each row."""
        train = np.array(self._cut.splits)[columns] == TRAIN
        absent = (self._wanted[columns] & (totals == 0)).sum(axis=1)
        sizes = totals.sum(axis=1)
        size = np.maximum(self._whole_low[columns] - sizes, 0) + np.maximum(
            sizes - self._whole_high[columns], 0
        )
        mix = np.maximum(self._low[columns] - totals, 0) + np.maximum(totals - self._high[columns], 0)
        return np.asarray(
            np.where(train, UNTRAINED, ABSENT) * absent
            + SIZE * size / self._whole
            + MIX * (mix / self._of_labels).mean(axis=1)
        )

    def _change(self, group: np.int64, column: int) -> None:
        row = self._contents.rows(np.array([group]))[0]
        self._totals[self._columns[group]] -= row
        self._totals[column] += row
        self._columns[group] = column
