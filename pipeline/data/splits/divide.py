"""The division of the samples into splits, and what must hold of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.data.splits.grouped import divide_by_group
from pipeline.data.splits.hashed import Shares, divide_by_hash
from pipeline.data.splits.member import Division, Member
from pipeline.data.splits.timed import divide_by_time
from pipeline.errors import DataError
from pipeline.recipe.data import Data, Split
from pipeline.reporting.printable import listing, printable

LEAST = 3  # a label with fewer samples cannot be in train, validation and test
NEEDED: tuple[Split, ...] = ("train", "validation", "test")


def divide(members: Sequence[Member], data: Data, seed: int) -> Division:
    """Divide samples into splits.

    Args:
        members: The samples.
        data: The recipe's section ``data``.
        seed: Seed of the division. The same seed and samples give the same splits, in any order.

    Raises:
        DataError: The samples cannot be divided as the recipe and the data say; the message has the remedy.
    """
    if len({member.label for member in members}) < 2:
        raise DataError(
            f"There is only one label ({', '.join(printable(member.label) for member in members[:1])}); a "
            "classifier needs two. Check data.table.label, data.layout or the subfolders."
        )
    shares: Shares = {
        "test": data.splits.test,
        "validation": data.splits.validation,
        "calibration": data.splits.calibration,
    }
    given = data.splits.given == "keep" and any(member.given for member in members)
    splits, told = _keep_given(members, shares, seed) if given else (_draw(members, data, shares, seed), [])
    if data.group_by:
        _refuse_crossing(members, splits)
    return Division(splits, (*told, *_tell_absent(members, splits)))


def _draw(members: Sequence[Member], data: Data, shares: Shares, seed: int) -> list[Split]:
    """Divide samples of which the data say nothing."""
    if data.split_by_time and data.group_by:
        raise DataError("data.split_by_time and data.group_by cannot both be kept. Choose one of them.")
    if data.split_by_time:
        splits = divide_by_time(members, shares)
        return _cut_calibration(members, splits, shares, seed)
    _refuse_rare(members)
    return divide_by_group(members, shares, seed) if data.group_by else divide_by_hash(members, shares, seed)


def _keep_given(members: Sequence[Member], shares: Shares, seed: int) -> tuple[list[Split], list[str]]:
    """Keep the splits that the data name, and cut those that they lack from ``train``."""
    nowhere = sum(member.given is None for member in members)
    if nowhere:
        raise DataError(
            f"{nowhere:,} of {len(members):,} samples are in no split that the data name. Name their split, "
            "or divide all anew: data.splits.given: ignore"
        )
    counts = Counter(member.given for member in members)
    if not counts["train"]:
        raise DataError(
            f"The data name no training split ({', '.join(map(str, counts))}). Say which it is "
            "(data.splits.names), or divide all anew: data.splits.given: ignore"
        )
    missing = {split: share for split, share in shares.items() if share and not counts[split]}
    splits = [member.given or "train" for member in members]
    training = [index for index, split in enumerate(splits) if split == "train"]
    if missing:
        _refuse_rare([members[index] for index in training], len(missing) + 1)
        drawn = (
            divide_by_group([members[index] for index in training], missing, seed)
            if any(member.group is not None for member in members)
            else divide_by_hash([members[index] for index in training], missing, seed)
        )
        for index, split in zip(training, drawn, strict=True):
            splits[index] = split
    _refuse_untrained(members, splits)
    kept = ", ".join(f"{counts[split]:,} {split}" for split in (*NEEDED, "calibration") if counts[split])
    told = [f"the splits are the data's own ({kept})"]
    told += [
        f"{splits.count(split):,} samples for {split} are cut from train: the data name no such split"
        for split in missing
    ]
    return splits, told


def _cut_calibration(
    members: Sequence[Member], splits: list[Split], shares: Shares, seed: int
) -> list[Split]:
    """Cut the calibration split from ``train``."""
    if not shares.get("calibration"):
        return splits
    training = [index for index, split in enumerate(splits) if split == "train"]
    share = shares["calibration"] * len(members) / max(1, len(training))
    drawn = divide_by_hash([members[index] for index in training], {"calibration": min(share, 0.5)}, seed)
    for index, split in zip(training, drawn, strict=True):
        splits[index] = split
    _refuse_untrained(members, splits)
    return splits


def _refuse_rare(members: Sequence[Member], least: int = LEAST) -> None:
    """Refuse labels with too few samples for every split."""
    counts = Counter(member.label for member in members)
    rare = [f"{printable(label)}: {count}" for label, count in sorted(counts.items()) if count < least]
    if rare:
        raise DataError(
            f"{len(rare)} label(s) have too few samples to be in every split ({least} are needed):\n"
            f"{listing(rare)}\nAdd samples, leave the labels out (data.labels.leave_out), or make them one "
            "with others (data.labels.rename)."
        )


def _refuse_untrained(members: Sequence[Member], splits: Sequence[Split]) -> None:
    """Refuse labels that no sample trains."""
    counts = Counter(member.label for member in members)
    trained = {member.label for member, split in zip(members, splits, strict=True) if split == "train"}
    untrained = [f"{printable(label)}: {counts[label]:,}" for label in sorted(counts) if label not in trained]
    if untrained:
        raise DataError(
            f"{len(untrained)} label(s) are in other splits and not in train:\n{listing(untrained)}\n"
            "Leave them out (data.labels.leave_out), or divide all anew: data.splits.given: ignore"
        )


def _refuse_crossing(members: Sequence[Member], splits: Sequence[Split]) -> None:
    """Refuse groups that stand in several splits, which the data's own splits may have done."""
    found: dict[str, set[str]] = defaultdict(set)
    for member, split in zip(members, splits, strict=True):
        found[member.group or ""].add(split)
    crossing = [
        f"{printable(group)}: {', '.join(sorted(each))}" for group, each in found.items() if len(each) > 1
    ]
    if crossing:
        raise DataError(
            f"data.group_by: {len(crossing):,} group(s) are in several splits:\n{listing(crossing)}\n"
            "Divide all anew: data.splits.given: ignore"
        )


def _tell_absent(members: Sequence[Member], splits: Sequence[Split]) -> list[str]:
    """Tell of labels that a split lacks.

    Raises:
        DataError: A label is not in train, or there is nothing to select or measure with.
    """
    _refuse_untrained(members, splits)
    here: dict[Split, set[str]] = {split: set() for split in NEEDED}
    for member, split in zip(members, splits, strict=True):
        if split in here:
            here[split].add(member.label)
    everything = {member.label for member in members}
    told = []
    for split in NEEDED[1:]:
        if not here[split]:
            raise DataError(
                f"No sample is left for {split}. Add samples or groups, or enlarge data.splits.{split}."
            )
        absent = sorted(everything - here[split])
        if absent:
            names = ", ".join(map(printable, absent[:10]))
            told.append(f"{len(absent)} label(s) have no sample in {split}: {names}")
    return told
