"""Division by hash: where a sample goes depends on its own content, and hardly on the other samples.

The hash of a sample gives a number in [0, 1), and each split has an interval of them. By chance, a class of
few samples would miss a split, or fill it. So each class is brought within bounds, by moving as few samples
as possible. ``docs/adr/0016`` has the proof that this cannot be had without any move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.splits.cut import FREE, Cut, Floats, Integers


def unit_hashes(names: Iterable[str], seed: int, purpose: str) -> Floats:
    """Return a number in [0, 1) for each name, which depends on it and on the seed and purpose alone.

    Args:
        names: Any texts.
        seed: Seed of the hashes.
        purpose: What the numbers are for; those of another purpose are independent of them.
    """
    start = hashlib.blake2b(f"{seed}\0{purpose}\0".encode(), digest_size=8)
    digests = bytearray()
    for name in names:
        state = start.copy()
        state.update(name.encode(errors="surrogatepass"))
        digests += state.digest()
    whole = np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64)
    return (whole >> np.uint64(11)).astype(np.float64) / 2**53  # a double holds 53 bits: never rounded to 1


def divide_by_hash(
    points: Floats, labels: Integers, cells: Integers | None, cut: Cut, fixed: Integers
) -> Integers:
    """Return the column of the split of each sample.

    Args:
        points: Hash of each sample in [0, 1), of shape (samples,).
        labels: Number of the label of each sample, of shape (samples,).
        cells: Number of each sample's combination of label and strata, of shape (samples,), if there are
            strata.
        cut: The splits.
        fixed: Column of the split that a sample keeps, or ``FREE``, of shape (samples,).

    Returns:
        Columns of the cut, of shape (samples,). Each label is within the cut's bounds, unless the samples
        that keep their split are in the way; and so is each cell, but for what its label needs.
    """
    free = fixed == FREE
    columns = np.where(free, cut.draw(points), fixed)
    if cells is not None:
        _bring_within(points, cells, columns, free, cut, every=False)
    _bring_within(points, labels, columns, free, cut, every=True)
    return columns


def _bring_within(
    points: Floats, keys: Integers, columns: Integers, free: NDArray[np.bool_], cut: Cut, *, every: bool
) -> None:
    """Bring the samples of each key within the bounds, by changing their columns."""
    splits = len(cut.splits)
    sizes = np.bincount(keys)
    counts = np.bincount(keys * splits + columns, minlength=len(sizes) * splits).reshape(-1, splits)
    low, high = cut.bounds(sizes, every=every)
    outside = np.flatnonzero(((counts < low) | (counts > high)).any(axis=1))
    if not outside.size:
        return
    order, starts = np.argsort(keys, kind="stable"), np.cumsum(sizes) - sizes
    for key in outside:
        indices = order[starts[key] : starts[key] + sizes[key]]
        bounds = _Bounds(low[key], high[key], sizes[key] * cut.shares)
        columns[indices] = _rebalance(points[indices], columns[indices], free[indices], cut, bounds)


@dataclass(frozen=True)
class _Bounds:
    """Bounds on the number of samples of each split, and the number that its share amounts to."""

    low: Integers
    high: Integers
    wanted: Floats


class _Move(NamedTuple):
    """So many samples go from one column to another."""

    source: int
    target: int
    amount: int


def _rebalance(
    points: Floats, columns: Integers, free: NDArray[np.bool_], cut: Cut, bounds: _Bounds
) -> Integers:
    """Return the columns of one set of samples, within the bounds.

    Those move whose hash is nearest to the interval of the split that they go to, so that nearly the same
    samples move when the set is nearly the same.
    """
    columns, splits = columns.copy(), len(cut.splits)
    starts, ends = np.array([0.0, *cut.edges]), np.array([*cut.edges, 1.0])
    counts = np.bincount(columns, minlength=splits)
    while move := _next_move(counts, np.bincount(columns[free], minlength=splits), bounds):
        candidates = np.flatnonzero(free & (columns == move.source))
        away = np.maximum(starts[move.target] - points[candidates], points[candidates] - ends[move.target])
        nearest = np.lexsort((points[candidates], np.maximum(away, 0)))[: move.amount]
        columns[candidates[nearest]] = move.target
        counts = np.bincount(columns, minlength=splits)
    return columns


def _next_move(counts: Integers, movable: Integers, bounds: _Bounds) -> _Move | None:
    """Return the next move towards the bounds, or None where there is none.

    Each move takes a split nearer to its bounds and none away from them. Splits with too many samples give
    first, so that the number of samples that move is the least.
    """
    lacking, excess, surplus = bounds.low - counts, counts - bounds.high, counts - bounds.wanted
    givers = (movable > 0) & (counts > bounds.low)
    if lacking.max() > 0 and givers.any():
        target = int(lacking.argmax())
        over = givers & (excess > 0)
        source = _greatest(excess if over.any() else surplus, over if over.any() else givers)
        spare = (
            excess[source]
            if over[source]
            else min(counts[source] - bounds.low[source], max(1, int(surplus[source])))
        )
        return _Move(source, target, int(min(lacking[target], spare, movable[source])))
    sources, takers = (movable > 0) & (excess > 0), counts < bounds.high
    if sources.any() and takers.any():
        source, target = _greatest(excess, sources), _greatest(-surplus, takers)
        room = min(-excess[target], max(1, int(-surplus[target])))
        return _Move(source, target, int(min(excess[source], room, movable[source])))
    return None


def _greatest(values: NDArray[np.integer] | Floats, among: NDArray[np.bool_]) -> int:
    """Return the place of the greatest of some values."""
    return int(np.where(among, values, -np.inf).argmax())


def numbers_of(names: Sequence[str]) -> tuple[list[str], Integers]:
    """Return the different names in alphabetical order, and the place of each name among them."""
    known = sorted(set(names))
    places = {name: place for place, name in enumerate(known)}
    return known, np.fromiter((places[name] for name in names), dtype=np.int64, count=len(names))
