from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.split import assign_splits
from pipeline.errors import DataError
from pipeline.recipe.data import Splits

SHARES = Splits(validation=0.15, test=0.25)
THREE = {"train", "validation", "test"}


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(20, 80), min_size=2, max_size=4),
    kinds=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_assign_splits_keeps_the_mix_of_labels_and_strata(sizes: list[int], kinds: int, seed: int) -> None:
    labels = [f"label{i}" for i, size in enumerate(sizes) for _ in range(size)]
    strata = [(str(i % kinds),) for i in range(len(labels))]
    splits = assign_splits(labels, strata, SHARES, seed)
    total, joint = (
        Counter(zip(labels, strata, strict=True)),
        Counter(zip(labels, strata, splits, strict=True)),
    )
    assert set(splits) == THREE
    for (label, stratum), count in total.items():
        for split, share in (("validation", 0.15), ("test", 0.25), ("train", 0.6)):
            assert abs(joint[label, stratum, split] - share * count) <= 2
    assert splits == assign_splits(labels, strata, SHARES, seed)


def test_assign_splits_sets_calibration_aside_from_training_alone() -> None:
    labels = ["a", "b"] * 100
    three = assign_splits(labels, [()] * 200, SHARES, 0)
    four = assign_splits(labels, [()] * 200, SHARES.model_copy(update={"calibration": 0.1}), 0)
    assert Counter(four) == {"train": 100, "validation": 30, "test": 50, "calibration": 20}
    assert all(
        before == after or (before, after) == ("train", "calibration")
        for before, after in zip(three, four, strict=True)
    )
    assert Counter(label for label, split in zip(labels, four, strict=True) if split == "calibration") == {
        "a": 10,
        "b": 10,
    }


def test_assign_splits_differs_when_the_seed_differs() -> None:
    labels = ["a", "b"] * 50
    assert assign_splits(labels, [()] * 100, SHARES, 0) != assign_splits(labels, [()] * 100, SHARES, 1)


def test_assign_splits_keeps_going_when_a_stratum_is_rare() -> None:
    labels = ["a", "b"] * 50
    strata = [("rare",), *[("common",)] * 99]
    assert set(assign_splits(labels, strata, SHARES, 0)) == THREE


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 50, "only one label (a)"),
        (["a"] * 50 + ["b"], "`b` has 1"),
        (["a"] * 50 + ["b"] * 2 + ["c"], "`b` has 2; `c` has 1"),
        (["a"] * 3 + ["b"] * 3, ""),
    ],
)
def test_assign_splits_refuses_when_a_label_cannot_be_in_every_split(labels: list[str], words: str) -> None:
    with pytest.raises(DataError) as refused:
        assign_splits(labels, [()] * len(labels), SHARES, 0)
    assert words in str(refused.value)
