"""Division by group: all samples of a group, such as a patient, are in one split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

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
    held = Counter((placed[group], label) for group in order for label in labels[group])
    needed = [split for split in HELD_OUT[:2] if shares.get(split)]
    holders: dict[str, list[str]] = defaultdict(list)
    for group in sorted(labels, key=lambda group: (sizes[group], group)):
        for label in labels[group]:
            holders[label].append(group)
    for label in sorted(holders):
        _spread(label, holders[label], placed, labels, held, needed)
    for label in sorted(holders):  # what cannot be had everywhere must be trained at least
        _spread(label, holders[label], placed, labels, held, [])
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
    holders: Sequence[str],
    placed: dict[str, Split],
    labels: Mapping[str, Counter[str]],
    held: Counter[tuple[Split, str]],
    needed: Sequence[Split],
) -> None:
    """Move groups so that a label is in ``train`` and in each of the splits that need it, if it can be.

    Args:
        label: The label.
        holders: The groups that have it, the smallest first.
        placed: The split of each group, which changes.
        labels: The labels of each group, with the number of its samples.
        held: The number of groups by split and label, which changes.
        needed: The splits besides ``train``.
    """
    targets: tuple[Split, ...] = ("train", *needed)
    for split in targets:
        if held[split, label]:
            continue
        group = _choose(label, holders, placed, labels, held, must=split == "train")
        if group is not None:
            for each in labels[group]:
                held[placed[group], each] -= 1
                held[split, each] += 1
            placed[group] = split


def _choose(
    label: str,
    holders: Sequence[str],
    placed: Mapping[str, Split],
    labels: Mapping[str, Counter[str]],
    held: Mapping[tuple[Split, str], int],
    *,
    must: bool,
) -> str | None:
    """Return the group whose move takes least away from where it is; None where none is to be moved."""
    spare = [group for group in holders if all(held[placed[group], each] > 1 for each in labels[group])]
    spare.sort(key=lambda group: placed[group] != "train")
    own = [group for group in holders if held[placed[group], label] > 1 and placed[group] != "train"]
    return next(iter([*spare, *own, *(holders if must else ())]), None)
