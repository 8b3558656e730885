from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.divide import divide
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from tests.pipeline.data.splits.samples import (
    PLAIN,
    THREE,
    TIMED,
    by_identity,
    classes,
    counts,
    identity,
    recipe,
)

SIZES = st.one_of(
    st.lists(st.integers(3, 500), min_size=2, max_size=40),
    st.builds(lambda count, size: [size] * count, st.integers(2, 200), st.integers(3, 12)),
    st.builds(lambda rare, size: [3] * rare + [size], st.integers(1, 199), st.integers(3, 500)),
)
SEEDS = st.integers(0, 2**63)


@settings(max_examples=200, deadline=None)
@given(sizes=SIZES, seed=SEEDS, calibration=st.sampled_from([0.0, 0.1]))
def test_divide_puts_every_label_into_every_split_near_its_share(
    sizes: list[int], seed: int, calibration: float
) -> None:
    members = classes(sizes)
    data = recipe(calibration=calibration if max(sizes) > 3 else 0.0)  # a class of 3 can spare none
    found = counts(members, divide(members, data, seed))
    for label, size in Counter(member.label for member in members).items():
        held_out = {"validation": data.splits.validation, "test": data.splits.test}
        for split, share in held_out.items():
            count = found[label, split]
            assert count >= 1
            assert (
                share * size / 2 - 1 < count < max(1.5 * share * size, share * size + 1) + 1e-6 or count == 1
            )
        assert found[label, "train"] >= 1
        train = found[label, "train"] + found[label, "calibration"]
        assert train >= int(0.75 * 0.6 * size)


@pytest.mark.parametrize(("size", "split_sizes"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))])
def test_divide_leaves_most_to_train_when_a_class_is_tiny(
    size: int, split_sizes: tuple[int, int, int]
) -> None:
    members = classes([size] * 50)
    found = counts(members, divide(members, PLAIN, 0))
    labels = {member.label for member in members}
    assert {
        (found[label, "train"], found[label, "validation"], found[label, "test"]) for label in labels
    } == {split_sizes}


@pytest.mark.parametrize("shares", [(0.02, 0.02), (0.9, 0.05), (0.45, 0.5), (0.3, 0.33)])
def test_divide_never_fails_when_the_shares_are_uneven(shares: tuple[float, float]) -> None:
    members = classes([3, 4, 7, 50, 300])
    data = recipe(validation=shares[0], test=shares[1])
    found = counts(members, divide(members, data, 0))
    assert all(found[label, split] for label in {m.label for m in members} for split in THREE)


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(4, 60), min_size=2, max_size=9), seed=SEEDS, order=st.randoms())
def test_divide_is_the_same_in_any_order(sizes: list[int], seed: int, order: random.Random) -> None:
    members = [replace(member, strata=(member.identity[-1],)) for member in classes(sizes)]
    shuffled = members.copy()
    order.shuffle(shuffled)
    data = recipe(calibration=0.1)
    assert by_identity(members, divide(members, data, seed)) == by_identity(
        shuffled, divide(shuffled, data, seed)
    )


@pytest.mark.parametrize(("size", "most"), [(3, 1.0), (5, 1.0), (10, 0.7), (20, 0.5), (50, 0.2), (500, 0.0)])
def test_divide_moves_few_others_when_a_sample_is_added(size: int, most: float) -> None:
    tries = 60
    moved = 0
    for seed in range(tries):
        members = classes([size + 1, 30])
        after = by_identity(members, divide(members, PLAIN, seed))
        before = by_identity(members[1:], divide(members[1:], PLAIN, seed))
        moved += sum(after[name] != split for name, split in before.items())
    assert moved / tries <= most


def test_divide_moves_none_of_another_label_when_a_sample_is_added() -> None:
    members = classes([40, 3, 5, 9])
    before = by_identity(members, divide(members, PLAIN, 0))
    more = [*members, *(Member(identity("new", number), "label000") for number in range(7))]
    after = by_identity(more, divide(more, PLAIN, 0))
    others = [member.identity for member in members if member.label != "label000"]
    assert all(before[name] == after[name] for name in others)


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(st.integers(4, 30), min_size=2, max_size=8),
    new=st.lists(st.integers(0, 9), min_size=2, max_size=12),
    seed=SEEDS,
    calibration=st.sampled_from([0.0, 0.1]),
)
def test_divide_moves_none_when_the_earlier_splits_are_kept(
    old: list[int], new: list[int], seed: int, calibration: float
) -> None:
    members = classes(old)
    before = by_identity(members, divide(members, recipe(calibration=calibration), seed))
    added = [
        Member(identity("new", label, number), f"label{label:03}")
        for label, count in enumerate(new)
        for number in range(count if label < len(old) else max(3, count))
    ]
    more = [*added, *members]
    division = divide(more, PLAIN, seed + 1, kept=before)
    after = by_identity(more, division)
    assert all(after[name] == split for name, split in before.items())
    assert f"{len(members)} samples keep the split" in division.remarks[0]
    found = counts(more, division)
    assert all(found[member.label, split] for member in added for split in THREE)


def test_divide_tells_of_a_label_that_kept_samples_leave_out_of_a_split() -> None:
    members = classes([3, 20])
    kept = {member.identity: "train" for member in members[:3]}
    division = divide(members, PLAIN, 0, kept=kept)
    assert division.splits[:3] == ["train"] * 3
    assert division.remarks[1:] == (
        "1 label(s) have no sample in validation: label000",
        "1 label(s) have no sample in test: label000",
    )


def test_divide_keeps_the_mix_of_strata() -> None:
    members = [
        replace(member, strata=("many" if place % 3 else "few",))
        for place, member in enumerate(classes([400, 300]))
    ]
    splits = divide(members, PLAIN, 0).splits
    whole = Counter((member.label, member.strata) for member in members)
    found = Counter((m.label, m.strata, split) for m, split in zip(members, splits, strict=True))
    for cell, size in whole.items():
        assert 0.5 * 0.25 * size - 1 <= found[*cell, "test"] <= 1.5 * 0.25 * size + 1
        assert 0.5 * 0.15 * size - 1 <= found[*cell, "validation"] <= 1.5 * 0.15 * size + 1


def test_divide_takes_calibration_from_training_alone() -> None:
    members = classes([100, 100, 3])
    three = divide(members, PLAIN, 0).splits
    four = divide(members, recipe(calibration=0.1), 0).splits
    assert 10 <= four.count("calibration") <= 31
    assert all(
        before == after or (before, after) == ("train", "calibration")
        for before, after in zip(three, four, strict=True)
    )


def test_divide_gives_calibration_one_sample_when_the_data_are_tiny() -> None:
    members = classes([4, 4])
    assert all(
        divide(members, recipe(calibration=0.01), seed).splits.count("calibration") >= 1 for seed in range(9)
    )
    with pytest.raises(DataError, match="no training sample can be spared"):
        divide(classes([3, 3]), recipe(calibration=0.01), 0)


def test_divide_differs_when_the_seed_differs() -> None:
    members = classes([50, 50])
    assert divide(members, PLAIN, 0) != divide(members, PLAIN, 1)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([50], ["only one label (label000)"]),
        ([], ["only one label (none)"]),
        ([50, 1, 3, 2], ["2 label(s)", "label001: 1", "label003: 2", "data.labels.leave_out", "rename"]),
    ],
)
def test_divide_refuses_when_labels_have_too_few_samples(sizes: list[int], words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        divide(classes(sizes), PLAIN, 0)
    assert all(word in str(refused.value) for word in words)


def test_divide_escapes_labels_in_errors() -> None:
    members = [Member(identity(number), "a\n\x1b[31m") for number in range(2)] + classes([9])
    with pytest.raises(DataError) as refused:
        divide(members, PLAIN, 0)
    assert r"a\n\x1b[31m: 2" in str(refused.value)


def test_divide_refuses_when_time_is_to_be_kept_with_something_else() -> None:
    members = classes([9, 9], time="1", given="train")
    with pytest.raises(DataError, match=r"data\.splits\.given: ignore"):
        divide(members, TIMED, 0)
    with pytest.raises(DataError, match=r"data\.group_by"):
        divide(classes([9, 9], time="1"), TIMED.model_copy(update={"group_by": "patient"}), 0)
    with pytest.raises(DataError, match=r"data\.splits\.keep"):
        divide(classes([9, 9], time="1"), TIMED, 0, kept={})
