from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.divide import divide
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from pipeline.files.samples import Split
from tests.pipeline.data.splits.samples import GROUPED, THREE, by_identity, counts, identity, recipe


def grouped(groups: Sequence[Sequence[int]]) -> list[Member]:
    """Samples of groups, of which each has as many samples of each label as its row says."""
    return [
        Member(identity(group, label, number), f"label{label}", group=f"group{group}")
        for group, row in enumerate(groups)
        for label, count in enumerate(row)
        for number in range(count)
    ]


def splits_of(members: Sequence[Member], splits: Sequence[Split]) -> dict[str | None, set[Split]]:
    found: dict[str | None, set[Split]] = defaultdict(set)
    for member, split in zip(members, splits, strict=True):
        found[member.group].add(split)
    return found


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3).filter(any), min_size=3, max_size=40),
    seed=st.integers(0, 2**32),
    calibration=st.sampled_from([0.0, 0.1]),
)
def test_divide_never_tears_a_group_apart(rows: list[list[int]], seed: int, calibration: float) -> None:
    members = grouped([*rows, *[[4, 3, 5]] * 5])
    data = recipe(calibration=calibration).model_copy(update={"group_by": "patient"})
    division = divide(members, data, seed)
    assert all(len(splits) == 1 for splits in splits_of(members, division.splits).values())
    shuffled = random.Random(seed).sample(members, len(members))
    assert by_identity(members, division) == by_identity(shuffled, divide(shuffled, data, seed))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=3, max_size=30),
    labels=st.integers(2, 10),
    seed=st.integers(0, 2**32),
)
def test_divide_puts_every_label_into_every_split_when_each_group_has_one(
    sizes: list[int], labels: int, seed: int
) -> None:
    rows = [
        [size if each == label else 0 for each in range(labels)] for label in range(labels) for size in sizes
    ]
    members = grouped(rows)
    found = counts(members, divide(members, GROUPED, seed))
    assert all(found[f"label{label}", split] for label in range(labels) for split in THREE)


@pytest.mark.parametrize("seed", range(10))
def test_divide_trains_on_a_group_that_is_most_of_the_data(seed: int) -> None:
    members = grouped([[300, 300], *[[8, 8]] * 25])
    division = divide(members, GROUPED, seed)
    assert splits_of(members, division.splits)["group0"] == {"train"}
    sizes = Counter(division.splits)
    assert 0.125 <= sizes["test"] / 1000 <= 0.375
    assert 0.075 <= sizes["validation"] / 1000 <= 0.225


@pytest.mark.parametrize("seed", range(10))
def test_divide_trains_on_the_largest_of_three_groups(seed: int) -> None:
    members = grouped([[60, 60], [25, 25], [15, 15]])
    division = divide(members, GROUPED, seed)
    assert splits_of(members, division.splits) == {
        "group0": {"train"},
        "group1": {"test"},
        "group2": {"validation"},
    }


@pytest.mark.parametrize("seed", range(10))
def test_divide_trains_on_a_label_of_one_group_and_says_what_lacks_it(seed: int) -> None:
    members = grouped([*[[5, 5, 0, 0]] * 20, [0, 0, 9, 0], [0, 0, 0, 4], [1, 0, 0, 4]])
    division = divide(members, GROUPED, seed)
    found = counts(members, division)
    assert found["label2", "train"] == 9
    assert found["label3", "train"] == found["label3", "test"] == 4
    assert division.remarks == (
        "2 label(s) have no sample in validation: label2, label3",
        "1 label(s) have no sample in test: label2",
    )


@pytest.mark.parametrize("seed", range(60))
def test_divide_trains_every_label_when_groups_are_few_and_mixed(seed: int) -> None:
    held = [(0,), (0, 1), (1, 2), (2,), (0, 3), (1,), (3,)]
    members = grouped([[3 * (label in labels) for label in range(4)] for labels in held])
    found = counts(members, divide(members, GROUPED, seed))
    assert all(found[f"label{label}", "train"] for label in range(4))


def test_divide_refuses_when_there_are_two_groups() -> None:
    with pytest.raises(DataError, match="No sample is left for validation"):
        divide(grouped([[9, 9], [9, 9]]), GROUPED, 0)


def test_divide_stratifies_groups_of_mixed_labels() -> None:
    generator = random.Random(0)
    rows = [[generator.randrange(9), generator.randrange(4), generator.randrange(2)] for _ in range(150)]
    members = grouped(rows)
    found = counts(members, divide(members, GROUPED, 1))
    for label in range(3):
        size = sum(row[label] for row in rows)
        for split, share in (("test", 0.25), ("validation", 0.15)):
            assert 0.5 <= found[f"label{label}", split] / (share * size) <= 1.5


def test_divide_keeps_kept_groups_and_their_new_samples_together() -> None:
    rows = [[4, 3]] * 12
    members = grouped(rows)
    before = by_identity(members, divide(members, GROUPED, 0))
    more = grouped([*[[6, 6]] * 12, *[[2, 2]] * 5])
    division = divide(more, GROUPED, 9, kept=before)
    after = by_identity(more, division)
    assert all(after[name] == split for name, split in before.items())
    assert all(len(splits) == 1 for splits in splits_of(more, division.splits).values())


def test_divide_refuses_kept_splits_that_tear_a_group_apart() -> None:
    members = grouped([[4, 4]] * 9)
    kept: dict[str, Split] = {members[0].identity: "train", members[1].identity: "test"}
    with pytest.raises(DataError, match="group0: train, test"):
        divide(members, GROUPED, 0, kept=kept)


def test_divide_takes_samples_without_a_group_one_by_one() -> None:
    members = [*grouped([[9, 9]] * 6), *(Member(identity("own", i), "label0") for i in range(60))]
    splits = divide(members, GROUPED, 0).splits
    assert {*splits[-60:]} == THREE
