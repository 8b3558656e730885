"""The division of the samples into splits: what is cut, by which rule, and what must hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.data.splits.checks import (
    check_labels,
    find_kept,
    refuse_rare,
    remark_kept,
    start_from_given,
    tell_absent,
)
from pipeline.data.splits.cut import CALIBRATION, FREE, TEST, TRAIN, VALIDATION, Cut, Integers
from pipeline.data.splits.grouped import Contents, divide_by_group
from pipeline.data.splits.hashed import divide_by_hash, numbers_of, unit_hashes
from pipeline.data.splits.member import Division, Member
from pipeline.data.splits.timed import divide_by_time, read_times
from pipeline.errors import DataError
from pipeline.files.samples import SPLITS, Split
from pipeline.recipe.data import Data


def divide(
    members: Sequence[Member], data: Data, seed: int, kept: Mapping[str, Split] | None = None
) -> Division:
    """Divide samples into splits.

    Args:
        members: The samples.
        data: The recipe's section ``data``.
        seed: Seed of the division. The same seed and samples give the same splits, in any order.
        kept: Split of samples that an earlier run divided, by their identity; none by default.

    Raises:
        DataError: The samples cannot be divided as the recipe and the data say; the message has the remedy.
    """
    check_labels(members)
    given = data.splits.given == "keep" and any(member.given for member in members)
    _refuse_contradictions(data, given=given, kept=kept)
    start, told = start_from_given(members) if given else (np.full(len(members), FREE), [])
    lacking = [split for split in (TEST, VALIDATION, CALIBRATION) if not (start == split).any()]
    pool = np.flatnonzero((start == FREE) | (start == TRAIN))
    pooled = [members[index] for index in pool.tolist()]
    if not data.split_by_time and {TEST, VALIDATION} <= {*lacking}:
        refuse_rare(pooled)
    fixed = find_kept(members, start, kept or {})
    splits = start.copy()
    cutter = _Cutter(pooled, fixed[pool], data, seed)
    splits[pool] = cutter.cut(lacking)
    if given:
        told += [
            f"{SPLITS[split]} was cut from train ({(splits == split).sum():,} samples): the data name none"
            for split in lacking
            if (splits == split).any()
        ]
    told += [remark_kept(fixed)] if kept is not None else []
    return Division([SPLITS[split] for split in splits], (*told, *tell_absent(members, splits)))


def _refuse_contradictions(data: Data, *, given: bool, kept: Mapping[str, Split] | None) -> None:
    """Refuse what cannot hold together with a division by time."""
    if not data.split_by_time:
        return
    others = {
        "groups (data.group_by)": data.group_by is not None,
        "the splits that the data name (data.splits.given: ignore divides anew)": given,
        "the splits of an earlier run (data.splits.keep)": kept is not None,
    }
    for other, holds in others.items():
        if holds:
            raise DataError(f"data.split_by_time cannot be kept together with {other}. Remove one of them.")


class _Cutter:
    """What cuts splits from a pool of samples.

    Args:
        members: The samples of the pool.
        fixed: Number of the split that each keeps, or ``FREE``.
        data: The recipe's section ``data``.
        seed: Seed of the hashes.
    """

    def __init__(self, members: Sequence[Member], fixed: Integers, data: Data, seed: int) -> None:
        self._members, self._fixed, self._data, self._seed = members, fixed, data, seed
        self._labels = numbers_of([member.label for member in members])[1]
        self._grouped = any(member.group is not None for member in members)

    def cut(self, lacking: Sequence[int]) -> Integers:
        """Return the number of the split of each sample.

        Args:
            lacking: Numbers of the splits to cut; the other samples of the pool train.
        """
        shares = {TEST: self._data.splits.test, VALIDATION: self._data.splits.validation}
        shares = {split: share for split, share in shares.items() if split in lacking}
        splits = self._cut_held_out(shares) if shares else np.full(len(self._members), TRAIN)
        share = self._data.splits.calibration / (1 - sum(shares.values()))
        if CALIBRATION in lacking and (share or (self._fixed == CALIBRATION).any()):
            self._cut_calibration(splits, share)
        return splits

    def _cut_held_out(self, shares: Mapping[int, float]) -> Integers:
        cut = Cut.of(shares)
        if self._data.split_by_time:
            columns = divide_by_time(read_times([member.time for member in self._members]), cut)
            return np.array(cut.splits)[columns]
        # What was cut for calibration is a part of train here.
        fixed = np.where(self._fixed == CALIBRATION, TRAIN, self._fixed)
        return self._cut(np.arange(len(self._members)), cut, fixed, "held out")

    def _cut_calibration(self, splits: Integers, share: float) -> None:
        """Cut the calibration split from what trains.

        Its hash is another one: what calibrates has nothing to do with what is held out.

        Args:
            splits: Number of the split of each sample, which changes.
            share: Share of those that train.

        Raises:
            DataError: There is no sample to spare.
        """
        train = np.flatnonzero(splits == TRAIN)
        splits[train] = self._cut(train, Cut.of({CALIBRATION: share}), self._fixed[train], "calibration")
        if not share or (splits == CALIBRATION).any():
            return
        counts = np.bincount(self._labels[train])
        spare = train[(counts[self._labels[train]] > 1) & (self._fixed[train] == FREE)]
        if self._grouped or not len(spare):
            raise DataError(
                "data.splits.calibration: no training sample can be spared for it. Add samples, or set it "
                "to 0 and leave out what needs it."
            )
        points = unit_hashes((self._members[place].identity for place in spare), self._seed, "calibration")
        splits[spare[points.argmin()]] = CALIBRATION

    def _cut(self, places: Integers, cut: Cut, fixed: Integers, purpose: str) -> Integers:
        """Return the numbers of the splits of some samples of the pool."""
        members = [self._members[place] for place in places]
        labels = np.unique(self._labels[places], return_inverse=True)[1]
        columns = cut.column_of(fixed)
        if self._grouped:
            names, groups = numbers_of([_unit(member) for member in members])
            points = unit_hashes(names, self._seed, purpose)
            of_groups = np.full(len(names), FREE)
            of_groups[groups[columns != FREE]] = columns[columns != FREE]
            found = divide_by_group(points, Contents.of(groups, labels), cut, of_groups)[groups]
        else:
            points = unit_hashes((member.identity for member in members), self._seed, purpose)
            found = divide_by_hash(points, labels, _cells(members), cut, columns)
        return np.array(cut.splits)[found]


def _cells(members: Sequence[Member]) -> Integers | None:
    """Return the number of each sample's combination of label and strata, if there are strata."""
    if not any(member.strata for member in members):
        return None
    places: dict[tuple[str, ...], int] = {}
    return np.array([places.setdefault((member.label, *member.strata), len(places)) for member in members])


def _unit(member: Member) -> str:
    """Return the name of what a sample stays together with: its group, or itself."""
    return f"sample\0{member.identity}" if member.group is None else f"group\0{member.group}"
