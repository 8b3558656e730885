"""What must hold before and after the division, and what people are told of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.data.splits.cut import FREE, TEST, TRAIN, VALIDATION, Integers
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from pipeline.files.samples import SPLITS, Split
from pipeline.reporting.printable import LISTED, listing, printable

LEAST = 3  # a label with fewer samples cannot be in train, validation and test
ANEW = "divide all anew (data.splits.given: ignore)"
NUMBERS = {split: number for number, split in enumerate(SPLITS)}


def check_labels(members: Sequence[Member]) -> None:
    """Refuse samples of fewer than two labels."""
    labels = {member.label for member in members}
    if len(labels) < 2:
        raise DataError(
            f"There is only one label ({', '.join(map(printable, labels)) or 'none'}); a classifier needs "
            "two. Check data.table.label, data.layout or the subfolders."
        )


def refuse_rare(members: Sequence[Member]) -> None:
    """Refuse labels with too few samples for every split, all at once."""
    counts = Counter(member.label for member in members)
    rare = [f"{printable(label)}: {count}" for label, count in sorted(counts.items()) if count < LEAST]
    if rare:
        raise DataError(
            f"{len(rare)} label(s) have too few samples to be in train, validation and test ({LEAST} are "
            f"needed):\n{listing(rare)}\nAdd samples, leave the labels out (data.labels.leave_out), or make "
            "them one with others (data.labels.rename)."
        )


def start_from_given(members: Sequence[Member]) -> tuple[Integers, list[str]]:
    """Return the number of the split that the data name for each sample, and what to tell of it.

    Raises:
        DataError: Samples are in no split, nothing trains, or a group stands in several splits.
    """
    counts = Counter(member.given for member in members)
    if counts[None]:
        raise DataError(
            f"{counts[None]:,} of {len(members):,} samples are in no split that the data name. Name their "
            f"split (data.splits.names, data.table.split), leave them out (data.leave_out), or {ANEW}."
        )
    if not counts["train"]:
        named = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
        raise DataError(
            f"The data name no training split ({named}). Say which it is (data.splits.names), or {ANEW}."
        )
    start = np.array([FREE if member.given is None else NUMBERS[member.given] for member in members])
    _refuse_crossing(members, start)
    named = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
    return start, [f"the splits are the data's own ({named})"]


def _refuse_crossing(members: Sequence[Member], splits: Integers) -> None:
    """Refuse groups that the data's own splits tear apart, which is a leak."""
    crossing = _crossing(members, splits)
    if crossing:
        raise DataError(
            f"data.group_by: {len(crossing):,} group(s) are in several of the data's own splits, which is a "
            f"leak:\n{listing(crossing)}\nMend the splits, or {ANEW}."
        )


def _crossing(members: Sequence[Member], splits: Integers) -> list[str]:
    """Return a line for each group that has samples in several splits."""
    found: dict[str, set[int]] = defaultdict(set)
    for member, split in zip(members, splits.tolist(), strict=True):
        if member.group is not None and split != FREE:
            found[member.group].add(split)
    return [
        f"{printable(group)}: {', '.join(SPLITS[split] for split in sorted(splits_of))}"
        for group, splits_of in sorted(found.items())
        if len(splits_of) > 1
    ]


def find_kept(members: Sequence[Member], start: Integers, kept: Mapping[str, Split]) -> Integers:
    """Return the number of the split that each sample keeps from an earlier run, or ``FREE``.

    Args:
        members: The samples.
        start: Number of the split that the data name for each, or ``FREE``.
        kept: Split of the earlier run's samples, by their identity.

    Raises:
        DataError: The data name another split, or members of a group were in several splits.
    """
    numbers = [kept.get(member.identity) for member in members] if kept else []
    if not numbers:
        return np.full(len(members), FREE)
    fixed = np.array([FREE if split is None else NUMBERS[split] for split in numbers])
    _refuse_kept_crossing(members, fixed)
    # Where the data lack a split, samples that they name as train may have been cut for it.
    unnamed = ~np.isin(np.arange(len(SPLITS)), start)
    agree = (fixed == start) | ((start == TRAIN) & unnamed[np.maximum(fixed, 0)])
    torn = int(((fixed != FREE) & (start != FREE) & ~agree).sum())
    if torn:
        raise DataError(
            f"data.splits.keep: {torn:,} samples were in another split than the data name now. Remove "
            f"data.splits.keep, or {ANEW}."
        )
    return fixed


def _refuse_kept_crossing(members: Sequence[Member], fixed: Integers) -> None:
    """Refuse groups whose samples were in several splits of the earlier run."""
    crossing = _crossing(members, fixed)
    if crossing:
        raise DataError(
            f"data.splits.keep: {len(crossing):,} group(s) were in several splits of the earlier run:\n"
            f"{listing(crossing)}\nRemove data.splits.keep, or data.group_by."
        )


def remark_kept(fixed: Integers) -> str:
    """Return what to tell of samples that keep the split of an earlier run."""
    keep, new = int((fixed != FREE).sum()), int((fixed == FREE).sum())
    return f"{keep:,} samples keep the split of the run that data.splits.keep names; {new:,} are new"


def tell_absent(members: Sequence[Member], splits: Integers) -> list[str]:
    """Tell of labels that a split lacks.

    Raises:
        DataError: A label is not in train, or there is nothing to select or measure with.
    """
    counts = Counter(zip((member.label for member in members), splits.tolist(), strict=True))
    sizes = Counter(member.label for member in members)
    untrained = [
        f"{printable(label)}: {sizes[label]:,}" for label in sorted(sizes) if not counts[label, TRAIN]
    ]
    if untrained:
        raise DataError(
            f"{len(untrained)} label(s) are in other splits and not in train:\n{listing(untrained)}\n"
            f"Add samples, leave the labels out (data.labels.leave_out), or {ANEW}."
        )
    told = []
    for split in (VALIDATION, TEST):
        absent = [label for label in sorted(sizes) if not counts[label, split]]
        if len(absent) == len(sizes):
            raise DataError(
                f"No sample is left for {SPLITS[split]}. Add samples or groups, or enlarge data.splits."
                f"{SPLITS[split]}."
            )
        if absent:
            more = f", and {len(absent) - LISTED:,} more" if len(absent) > LISTED else ""
            names = ", ".join(map(printable, absent[:LISTED]))
            told.append(f"{len(absent):,} label(s) have no sample in {SPLITS[split]}: {names}{more}")
    return told
