from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.divide import divide
from pipeline.data.splits.hashed import bounds
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from pipeline.recipe.data import Data, Split

THREE: tuple[Split, ...] = ("train", "validation", "test")
DATA = Data(source="")


def identity(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def members(sizes: list[int], salt: object = 0) -> list[Member]:
    return [
        Member(identity(f"{salt} {label} {index}"), f"label{label}")
        for label, size in enumerate(sizes)
        for index in range(size)
    ]


def with_splits(**section: object) -> Data:
    return Data.model_validate({"source": "", "splits": section})


def by_label(samples: list[Member], splits: list[Split]) -> dict[str, Counter[Split]]:
    counts: dict[str, Counter[Split]] = defaultdict(Counter)
    for sample, split in zip(samples, splits, strict=True):
        counts[sample.label][split] += 1
    return counts


@st.composite
def shapes(draw: st.DrawFn) -> list[int]:
    most = draw(st.sampled_from([3, 4, 6, 20, 100, 500]))
    count = draw(st.integers(2, 200 if most <= 20 else 12))
    return draw(st.lists(st.integers(3, most), min_size=count, max_size=count))


@settings(max_examples=150, deadline=None)
@given(sizes=shapes(), seed=st.integers(0, 2**32 - 1))
def test_divide_puts_every_label_into_every_split_when_it_has_three_samples(
    sizes: list[int], seed: int
) -> None:
    samples = members(sizes, seed)
    division = divide(samples, DATA, seed)
    for counts in by_label(samples, division.splits).values():
        assert set(counts) == set(THREE)
        total = counts.total()
        for split, share in (("test", 0.25), ("validation", 0.15)):
            least, most = bounds(total, share, 1)
            assert least <= counts[split] <= most
    assert division.remarks == ()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(3, 40), min_size=2, max_size=12), seed=st.integers(0, 99), data=st.data())
def test_divide_does_not_depend_on_the_order_of_the_samples(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    samples = members(sizes, seed)
    mixed = data.draw(st.permutations(samples))
    first = dict(zip(samples, divide(samples, DATA, seed).splits, strict=True))
    assert dict(zip(mixed, divide(mixed, DATA, seed).splits, strict=True)) == first


def moved(size: int, tries: int) -> float:
    """The average number of samples of a class that go elsewhere when one more comes."""
    count = 0
    for seed in range(tries):
        after = members([size + 1, 30], seed)
        before = [sample for index, sample in enumerate(after) if index != size]
        splits = dict(zip(after, divide(after, DATA, seed).splits, strict=True))
        count += sum(
            splits[sample] != split
            for sample, split in zip(before, divide(before, DATA, seed).splits, strict=True)
        )
    return count / tries


@pytest.mark.parametrize(
    ("sizes", "most"), [(range(3, 10), 1.0), (range(10, 30), 0.15), (range(60, 64), 0.15)]
)
def test_divide_moves_few_samples_on_average_when_one_is_added(sizes: range, most: float) -> None:
    averages = [moved(size, 1500 // len(sizes)) for size in sizes]
    assert sum(averages) / len(averages) < most


def test_divide_moves_no_sample_of_other_labels_when_one_is_added() -> None:
    before, after = members([20, 7, 3]), [*members([20, 7, 3]), Member(identity("new"), "label0")]
    splits = dict(zip(after, divide(after, DATA, 0).splits, strict=True))
    for sample, split in zip(before, divide(before, DATA, 0).splits, strict=True):
        assert sample.label == "label0" or splits[sample] == split


def test_divide_differs_when_the_seed_differs() -> None:
    samples = members([50, 50])
    assert divide(samples, DATA, 0) != divide(samples, DATA, 1)
    assert divide(samples, DATA, 0) == divide(samples, DATA, 0)


def test_divide_sets_calibration_aside_and_keeps_the_splits_that_measure() -> None:
    samples = members([100, 100, 3])
    three = divide(samples, DATA, 0).splits
    four = divide(samples, with_splits(calibration=0.1), 0).splits
    assert 10 <= four.count("calibration") <= 30
    for before, after in zip(three[:200], four[:200], strict=True):
        assert after in (before, "calibration")
    assert set(four[200:]) == set(THREE)


def test_divide_keeps_the_mix_of_strata() -> None:
    samples = [
        Member(identity(str(index)), f"label{index % 2}", (("rare",) if index % 10 == 0 else ("common",)))
        for index in range(1000)
    ]
    counts = Counter(
        (sample.strata, split) for sample, split in zip(samples, divide(samples, DATA, 3).splits, strict=True)
    )
    assert 15 <= counts[("rare",), "test"] <= 35
    assert 195 <= counts[("common",), "test"] <= 255


@pytest.mark.parametrize(
    ("sizes", "words"),
    [([50], "only one label"), ([50, 1], "label1: 1"), ([50, 2, 1], "2 label"), ([2, 2], "3 are needed")],
)
def test_divide_refuses_when_a_label_cannot_be_in_every_split(sizes: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        divide(members(sizes), DATA, 0)


def given_members(counts: dict[Split | None, int], labels: int = 2) -> list[Member]:
    return [
        Member(identity(f"{label} {split} {index}"), f"label{label}", given=split)
        for label in range(labels)
        for split, count in counts.items()
        for index in range(count)
    ]


def test_divide_never_redraws_the_splits_that_the_data_name() -> None:
    samples = given_members({"train": 5, "validation": 1, "test": 40})
    division = divide(samples, DATA, 0)
    assert division.splits == [sample.given for sample in samples]
    assert division.remarks == ("the splits are the data's own (10 train, 2 validation, 80 test)",)


def test_divide_cuts_a_missing_validation_split_from_train_and_says_so() -> None:
    samples = given_members({"train": 40, "test": 10})
    division = divide(samples, DATA, 0)
    for sample, split in zip(samples, division.splits, strict=True):
        assert split == "test" if sample.given == "test" else split in ("train", "validation")
    count = division.splits.count("validation")
    assert 4 <= count <= 20
    assert division.remarks[1] == (
        f"{count} samples for validation are cut from train: the data name no such split"
    )


def test_divide_draws_anew_when_told_to_ignore_the_datas_own_splits() -> None:
    samples = given_members({"train": 40, "test": 10})
    plain = [Member(sample.identity, sample.label) for sample in samples]
    assert divide(samples, with_splits(given="ignore"), 0).splits == divide(plain, DATA, 0).splits


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"train": 5, "validation": 5, "test": 5, None: 1}, "2 of 32 samples are in no split"),
        ({"validation": 5, "test": 5}, "name no training split"),
        ({"train": 1, "test": 5}, "2 are needed"),
    ],
)
def test_divide_refuses_when_the_datas_own_splits_are_not_enough(
    counts: dict[Split | None, int], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        divide(given_members(counts), DATA, 0)


def test_divide_refuses_a_label_that_only_the_test_split_has() -> None:
    samples = [*given_members({"train": 5, "validation": 5, "test": 5}), Member("x", "late", given="test")]
    with pytest.raises(DataError, match=r"not in train:\n  late: 1\n.*data\.labels\.leave_out"):
        divide(samples, DATA, 0)


def test_divide_tells_of_a_label_that_a_split_lacks() -> None:
    samples = [*given_members({"train": 5, "validation": 5, "test": 5}), Member("x", "rare", given="train")]
    remarks = divide(samples, DATA, 0).remarks
    assert remarks[1:] == (
        "1 label(s) have no sample in validation: rare",
        "1 label(s) have no sample in test: rare",
    )


GROUPED = Data(source="", group_by="patient")


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=12, max_size=60),
    seed=st.integers(0, 99),
)
def test_divide_never_lets_a_group_cross(groups: list[tuple[int, int]], seed: int) -> None:
    samples = [
        Member(identity(f"{group} {index}"), f"label{label}", group=f"g{group}")
        for group, (size, label) in enumerate([(1, label) for label in (0, 1) * 3] + groups)
        for index in range(size)
    ]
    if min(Counter(sample.label for sample in samples).values()) < 3:
        return
    samples = random.Random(seed).sample(samples, len(samples))
    places = defaultdict(set)
    holders = defaultdict(set)
    division = divide(samples, GROUPED, seed)
    for sample, split in zip(samples, division.splits, strict=True):
        places[sample.group].add(split)
        holders[sample.label].add(sample.group)
    assert all(len(splits) == 1 for splits in places.values())
    counts = by_label(samples, division.splits)
    assert all(set(counts[label]) == set(THREE) for label, held in holders.items() if len(held) >= 3)


def test_divide_trains_every_label_when_groups_are_few_and_mixed() -> None:
    for seed in range(200):
        samples = [
            Member(identity(f"{group} {label} {index}"), f"label{label}", group=f"g{group}")
            for group, labels in enumerate([(0,), (0, 1), (1, 2), (2,), (0, 3), (1,), (3,)])
            for label in labels
            for index in range(3)
        ]
        counts = by_label(samples, divide(samples, GROUPED, seed).splits)
        assert all("train" in each for each in counts.values())


def test_divide_refuses_groups_that_the_datas_own_splits_tear_apart() -> None:
    samples = [
        Member(identity(f"{split} {label} {index}"), f"label{label}", group="same", given=split)
        for split in THREE
        for label in range(2)
        for index in range(3)
    ]
    with pytest.raises(DataError, match=r"same: test, train, validation"):
        divide(samples, GROUPED, 0)


def test_divide_keeps_groups_whole_when_validation_is_cut_from_train() -> None:
    samples = [
        Member(
            identity(f"{group} {index}"),
            f"label{group % 2}",
            group=f"g{group}",
            given="test" if group < 4 else "train",
        )
        for group in range(24)
        for index in range(3)
    ]
    splits = divide(samples, GROUPED, 0).splits
    assert {split for sample, split in zip(samples, splits, strict=True) if sample.given == "test"} == {
        "test"
    }
    assert "validation" in splits
    assert all(len(set(splits[place : place + 3])) == 1 for place in range(0, 72, 3))


TIMED = Data(source="", split_by_time="when")


@pytest.mark.parametrize("form", ["{}", "2026-03-01T12:{:02}", "2026-03-{:02}"])
def test_divide_tests_on_the_newest_when_split_by_time(form: str) -> None:
    samples = [Member(identity(str(day)), f"label{day % 2}", time=form.format(day)) for day in range(1, 31)]
    samples = random.Random(0).sample(samples, 30)
    division = divide(samples, TIMED, 0)
    ordered = sorted(
        zip((int(str(s.time)[-2:].lstrip("-T:")) for s in samples), division.splits, strict=True)
    )
    splits = [split for _, split in ordered]
    assert splits == sorted(splits, key=THREE.index)
    assert splits.count("test") == 8
    assert splits.count("validation") in (4, 5)


def test_divide_keeps_samples_of_one_time_together() -> None:
    samples = [
        Member(identity(str(index)), f"label{index % 2}", time=str(index // 10)) for index in range(100)
    ]
    splits = divide(samples, TIMED, 0).splits
    assert all(len(set(splits[place : place + 10])) == 1 for place in range(0, 100, 10))
    assert set(splits) == set(THREE)


@pytest.mark.parametrize("times", [["1", "2026-01-01"], ["soon", "later"], ["", "1"]])
def test_divide_refuses_times_that_cannot_be_compared(times: list[str]) -> None:
    samples = [Member(identity(str(i)), f"label{i % 2}", time=times[i % 2]) for i in range(20)]
    with pytest.raises(DataError, match=r"data\.split_by_time"):
        divide(samples, TIMED, 0)


def test_divide_refuses_time_and_group_together() -> None:
    data = Data(source="", split_by_time="when", group_by="patient")
    with pytest.raises(DataError, match="cannot both be kept"):
        divide(members([5, 5]), data, 0)


def test_divide_refuses_when_the_oldest_lack_a_label() -> None:
    samples = [
        Member(identity(str(i)), "new" if i > 90 else f"label{i % 2}", time=str(i)) for i in range(100)
    ]
    with pytest.raises(DataError, match="new: 9"):
        divide(samples, TIMED, 0)
