from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.divide import divide
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from pipeline.files.samples import SPLITS, Split
from tests.pipeline.data.splits.samples import GROUPED, PLAIN, THREE, classes, counts, recipe


def named(sizes: list[int], *splits: Split | None) -> list[Member]:
    """Samples of some classes, whose splits the data name in turn."""
    return [replace(member, given=splits[place % len(splits)]) for place, member in enumerate(classes(sizes))]


@settings(max_examples=60, deadline=None)
@given(
    splits=st.lists(st.sampled_from(SPLITS), min_size=60, max_size=60),
    calibration=st.sampled_from([0.0, 0.1]),
)
def test_divide_never_redraws_given_splits(splits: list[Split], calibration: float) -> None:
    members = [replace(member, given=split) for member, split in zip(classes([30, 30]), splits, strict=True)]
    members += named([3, 3], "train")
    division = divide(members, recipe(calibration=calibration), 0)
    missing = ({*SPLITS[:3], *(["calibration"] if calibration else [])}) - {*splits, "train"}
    for member, split in zip(members, division.splits, strict=True):
        assert split == member.given or (member.given == "train" and split in missing)


def test_divide_cuts_validation_from_train_when_the_data_name_none() -> None:
    members = named([80, 80, 9], "train", "train", "train", "test")
    division = divide(members, PLAIN, 0)
    assert all(
        (member.given == "test") == (split == "test")
        for member, split in zip(members, division.splits, strict=True)
    )
    cut = division.splits.count("validation")
    assert 0.075 * 127 < cut < 0.225 * 127
    assert division.remarks == (
        "the splits are the data's own (127 train, 42 test)",
        f"validation was cut from train ({cut} samples): the data name none",
    )
    assert {
        label for (label, split), count in counts(members, division).items() if split == "validation"
    } == {member.label for member in members}


def test_divide_cuts_both_when_all_is_named_train() -> None:
    members = named([20, 3], "train")
    found = counts(members, divide(members, PLAIN, 0))
    assert all(found[label, split] for label in ("label000", "label001") for split in THREE)


def test_divide_leaves_the_only_training_sample_of_a_label_to_train() -> None:
    members = [*named([30, 30], "train", "test"), *named([0, 0, 0, 1], "train")]
    division = divide(members, PLAIN, 0)
    assert division.splits[-1] == "train"
    assert division.remarks[-2:] == (
        "1 label(s) have no sample in validation: label003",
        "1 label(s) have no sample in test: label003",
    )


def test_divide_draws_anew_when_given_splits_are_ignored() -> None:
    members = named([40, 40], "test")
    assert divide(members, recipe(given="ignore"), 0) == divide(classes([40, 40]), PLAIN, 0)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (named([30, 30], "train", "test", None), "20 of 60 samples are in no split"),
        (named([30, 30], "test", "validation"), r"no training split \(30 validation, 30 test\)"),
        ([*named([30, 30], "train", "test"), *named([0, 0, 4], "test")], "label002: 4"),
        (named([0, 1, 30], "train"), "label001: 1"),
    ],
)
def test_divide_refuses_given_splits_with_the_remedy(members: list[Member], words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        divide(members, PLAIN, 0)
    assert "data.splits.given: ignore" in str(refused.value) or "data.labels.leave_out" in str(refused.value)


def test_divide_refuses_a_group_in_two_given_splits() -> None:
    members = [replace(m, group=f"g{place // 3}") for place, m in enumerate(named([30, 30], "train", "test"))]
    with pytest.raises(DataError, match="g0: train, test") as refused:
        divide(members, GROUPED, 0)
    assert "20 group(s)" in str(refused.value)
    assert "data.splits.given: ignore" in str(refused.value)


def test_divide_keeps_groups_together_when_validation_is_cut() -> None:
    members = [
        replace(member, group=f"g{place // 4}") for place, member in enumerate(named([80, 80], "train"))
    ]
    members += [replace(member, group="tested") for member in named([0, 0, 9], "test")]
    members += [
        replace(member, group=f"h{place % 4}") for place, member in enumerate(named([0] * 3 + [9], "train"))
    ]
    members = [
        replace(member, label="label000") if member.label == "label002" else member for member in members
    ]
    division = divide(members, GROUPED, 0)
    places: dict[str | None, set[str]] = {}
    for member, split in zip(members, division.splits, strict=True):
        places.setdefault(member.group, set()).add(split)
    assert all(len(each) == 1 for each in places.values())
    assert Counter(division.splits)["test"] == 9


def test_divide_refuses_a_kept_split_that_the_data_contradict() -> None:
    members = named([30, 30], "train", "test")
    kept: dict[str, Split] = {members[0].identity: "test"}
    with pytest.raises(DataError, match=r"data\.splits\.keep: 1 samples"):
        divide(members, PLAIN, 0, kept=kept)


def test_divide_keeps_what_was_cut_from_given_train() -> None:
    members = named([80, 80], "train", "test")
    before = divide(members, recipe(calibration=0.1), 0)
    kept = {member.identity: split for member, split in zip(members, before.splits, strict=True)}
    assert {"validation", "calibration"} <= {*before.splits}
    assert divide(members, recipe(calibration=0.1), 5, kept=kept).splits == before.splits
