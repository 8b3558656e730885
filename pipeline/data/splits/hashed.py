"""Division by hash: where a sample goes depends on its own content, and hardly on the other samples.

The hash of a sample's content gives a number in [0, 1), and each split has an interval of them. By chance, a
class of few samples would miss a split, or fill it. Each class is therefore brought within bounds around the
shares, by moving as few samples as possible. docs/adr/0016 has the proof that this cannot be had without any
move, and the measured numbers of moves.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipeline.data.splits.member import Member
from pipeline.recipe.data import Split

FEW = 10  # a class of fewer samples gets the share, rounded up, at most
WIDTH = 1.5  # how many standard deviations of chance a larger class may be away from the shares
HELD_OUT: tuple[Split, ...] = ("test", "validation", "calibration")
Shares = Mapping[Split, float]
"""The share of each split but ``train``; a split that is not named gets nothing."""


def unit_hash(text: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on a text and the seed alone."""
    digest = hashlib.blake2b(f"{seed}:{text}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def divide_by_hash(members: Sequence[Member], shares: Shares, seed: int) -> list[Split]:
    """Return the split of each sample.

    Args:
        members: The samples.
        shares: The share of each split but ``train``.
        seed: Seed of the hashes.

    Returns:
        The splits. Every class of at least as many samples as there are splits with a share for measuring or
        selecting, and one more, is in each of them and in ``train``.
    """
    order = [unit_hash(member.identity, seed) for member in members]
    cells: dict[tuple[str, ...], list[int]] = defaultdict(list)
    labels: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(members)), key=lambda index: (order[index], members[index].identity)):
        member = members[index]
        labels[member.label].append(index)
        if member.strata:
            cells[member.label, *member.strata].append(index)
    splits = [split_at(value, shares) for value in order]
    for group in cells.values():
        _keep_within(group, splits, shares, least=0)
    for group in labels.values():
        _keep_within(group, splits, shares, least=1)
    return splits


def split_at(value: float, shares: Shares) -> Split:
    """Return the split whose interval holds a number in [0, 1)."""
    end = 0.0
    for split in HELD_OUT:
        end += shares.get(split, 0.0)
        if value < end:
            return split
    return "train"


def bounds(count: int, share: float, least: int) -> tuple[int, int]:
    """Return the least and the greatest number of samples that a split gets of a class.

    Args:
        count: Number of samples of the class.
        share: Share of the split.
        least: Number of samples that the split gets in any case.
    """
    if not share:
        return 0, 0
    width = 0.0 if count < FEW else WIDTH * math.sqrt(count * share * (1 - share))
    return max(least, math.floor(count * share - width)), max(least, math.ceil(count * share + width))


def _keep_within(indices: Sequence[int], splits: list[Split], shares: Shares, *, least: int) -> None:
    """Move as few samples of a class as possible, so that each split has a number within its bounds.

    Args:
        indices: Places of the class's samples, in the order of their hashes.
        splits: The split of every sample, which changes.
        shares: The share of each split.
        least: Number of samples that each split for measuring or selecting gets in any case.
    """
    held: dict[Split, list[int]] = {split: [] for split in (*HELD_OUT, "train")}
    for index in indices:
        held[splits[index]].append(index)
    limits = {
        split: bounds(len(indices), shares.get(split, 0.0), 0 if split == "calibration" else least)
        for split in HELD_OUT
    }
    train = held["train"]
    for split in HELD_OUT:
        over = max(0, len(held[split]) - limits[split][1])
        train += held[split][len(held[split]) - over :]
        del held[split][len(held[split]) - over :]
    for split in HELD_OUT:
        lacking = max(0, min(limits[split][0] - len(held[split]), len(train) - 1))
        held[split] += train[:lacking]
        del train[:lacking]
    if not train and len(indices) > 1:  # a class of very few may have nothing left to train on
        train.append(max(held.values(), key=len).pop())
    for split, group in held.items():
        for index in group:
            splits[index] = split
