"""The assignment of samples to disjoint, stratified splits, which the seed fixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.errors import DataError
from pipeline.files.samples import SPLITS, Split
from pipeline.recipe.data import Splits

NEEDED: tuple[Split, ...] = SPLITS[:3]  # every label is in each of these
RARE = 4  # a combination of label and strata with fewer samples is not split by itself


def assign_splits(
    labels: Sequence[str], strata: Sequence[tuple[str, ...]], splits: Splits, seed: int
) -> list[Split]:
    """Assign every sample to a split, keeping the mix of labels and strata in each split.

    Args:
        labels: The label of each sample.
        strata: The values of each sample in further columns to stratify by. A combination too rare to be
            split joins another of its label.
        splits: The shares of validation, test and calibration.
        seed: Seed of the assignment. The same seed and samples give the same splits.

    Returns:
        The split of each sample.

    Raises:
        DataError: There is one class, or a label with too few samples to be in every split.
    """
    _refuse_rare(labels)
    try:
        drawn = _draw(labels, strata, splits, seed)
    except ValueError as error:
        raise DataError(
            f"data.splits: {len(labels)} samples cannot be split ({error}). "
            "Add samples, or change the shares."
        ) from error
    assigned: list[Split] = ["train"] * len(labels)
    for split, members in drawn.items():
        for member in members:
            assigned[member] = split
    _refuse_absent(labels, assigned)
    return assigned


def _draw(
    labels: Sequence[str], strata: Sequence[tuple[str, ...]], splits: Splits, seed: int
) -> dict[Split, list[int]]:
    """Draw the indices of the samples of every split but ``train``.

    Raises:
        ValueError: A split would be too small to hold every label.
    """
    from sklearn.model_selection import train_test_split

    def divide(members: list[int], size: float) -> tuple[list[int], list[int]]:
        """Return the members that are left and those that are drawn, by a share or a number of them."""
        keys = _as_text(_strata_of(members, labels, strata))
        left, drawn = train_test_split(members, test_size=size, stratify=keys, random_state=seed)
        return left, drawn

    rest, test = divide(list(range(len(labels))), splits.test)
    rest, validation = divide(rest, splits.validation / (1 - splits.test))
    count = round(splits.calibration * len(labels))
    calibration = divide(rest, count)[1] if splits.calibration else []
    return {"test": test, "validation": validation, "calibration": calibration}


def _strata_of(
    members: Sequence[int], labels: Sequence[str], strata: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    return _strata([labels[i] for i in members], [strata[i] for i in members])


def _as_text(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Join each key to one string, since scikit-learn takes a sequence of tuples for several columns."""
    return ["\t".join(key) for key in keys]


def _strata(labels: Sequence[str], strata: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the key of each sample to stratify by: its label and strata.

    A combination too rare to be split joins the most common one of its label.
    """
    full = [(label, *values) for label, values in zip(labels, strata, strict=True)]
    counts = Counter(full)
    common = {
        label: max((key for key in counts if key[0] == label), key=lambda key: (counts[key], key))
        for label in set(labels)
    }
    return [key if counts[key] >= RARE else common[key[0]] for key in full]


def _refuse_rare(labels: Sequence[str]) -> None:
    counts = Counter(labels)
    if len(counts) < 2:
        raise DataError(
            f"There is only one label ({', '.join(counts)}); a classifier needs two. "
            "Check data.table.label or the subfolders."
        )
    rare = [f"`{label}` has {count}" for label, count in sorted(counts.items()) if count < 3]
    if rare:
        raise DataError(
            f"Too few samples to be in train, validation and test: {'; '.join(rare)}; 3 are needed. "
            "Add samples, or remove it."
        )


def _refuse_absent(labels: Sequence[str], assigned: Sequence[Split]) -> None:
    pairs = set(zip(labels, assigned, strict=True))
    absent = [
        f"`{label}` in {split}"
        for label in sorted(set(labels))
        for split in NEEDED
        if (label, split) not in pairs
    ]
    if absent:
        raise DataError(
            f"data.splits: no sample of {'; '.join(absent)}. Add samples of it, or enlarge the split."
        )
