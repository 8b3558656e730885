"""Division by group: all samples of a group, such as a patient, are in one split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.data.splits.hashed import HELD_OUT, Shares, split_at, unit_hash
from pipeline.data.splits.member import Member
from pipeline.recipe.data import Split

MOST = 1.5  # a split holds at most so many times its share of the samples


def divide_by_group(members: Sequence[Member], shares: Shares, seed: int) -> list[Split]:
    """Return the split of each sample.

    A group's hash says where it goes. Then groups are moved, the smallest that help, so that no split is far
    too large, and every label is in every split as far as the groups allow.

    Args:
        members: The samples, each with its group.
        shares: The share of each split but ``train``.
        seed: Seed of the hashes.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for member in members:
        labels[member.group or ""][member.label] += 1
    sizes = {group: counts.total() for group, counts in labels.items()}
    order = sorted(labels, key=lambda group: (unit_hash(group, seed), group))
    placed = {group: split_at(unit_hash(group, seed), shares) for group in order}
    for split in HELD_OUT:
        _shrink(split, placed, sizes, shares.get(split, 0.0) * len(members))
    for label in sorted({member.label for member in members}):
        _spread(label, placed, labels, sizes, [split for split in HELD_OUT[:2] if shares.get(split)])
    return [placed[member.group or ""] for member in members]


def _shrink(split: Split, placed: dict[str, Split], sizes: dict[str, int], wanted: float) -> None:
    """Move the largest groups of a split to ``train`` until it is not far too large."""
    groups = sorted((group for group in placed if placed[group] == split), key=lambda group: sizes[group])
    while groups and sum(sizes[group] for group in groups) > max(MOST * wanted, sizes[groups[0]]):
        placed[groups.pop()] = "train"
    if len(groups) == 1 and sizes[groups[0]] > MOST * wanted and sizes[groups[0]] > min(sizes.values()):
        placed[groups[0]] = "train"


def _spread(
    label: str,
    placed: dict[str, Split],
    labels: dict[str, Counter[str]],
    sizes: dict[str, int],
    needed: Sequence[Split],
) -> None:
    """Move groups so that a label is in ``train`` and in each of the splits that need it, if it can be."""
    holders = [group for group in placed if labels[group][label]]
    holders.sort(key=lambda group: (sizes[group], group))
    for split in ("train", *needed):
        if any(placed[group] == split for group in holders):
            continue
        counts = Counter(placed[group] for group in holders)
        spare = [group for group in holders if counts[placed[group]] > 1]
        if spare:
            from_train = [group for group in spare if placed[group] == "train"]
            placed[(from_train or spare)[0]] = split
