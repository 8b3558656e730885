from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits.divide import divide
from pipeline.data.splits.member import Member
from pipeline.data.splits.timed import read_times
from pipeline.errors import DataError
from tests.pipeline.data.splits.samples import TIMED, identity

RANK = {"train": 0, "validation": 1, "test": 2}


def at(*times: str | None) -> list[Member]:
    """Two samples of each time, one of each of two labels."""
    return [
        Member(identity(place, label), label, time=time)
        for place, time in enumerate(times)
        for label in ("a", "b")
    ]


@settings(max_examples=80, deadline=None)
@given(times=st.lists(st.integers(-5, 60), min_size=3, max_size=120).filter(lambda each: len({*each}) >= 3))
def test_divide_trains_on_the_oldest_and_tests_on_the_newest(times: list[int]) -> None:
    members = at(*map(str, times))
    splits = divide(members, TIMED, 0).splits
    by_split: dict[str, list[float]] = defaultdict(list)
    for member, split in zip(members, splits, strict=True):
        by_split[split].append(float(member.time or ""))
    assert max(by_split["train"]) < min(by_split["validation"])
    assert max(by_split["validation"]) < min(by_split["test"])


def test_divide_keeps_to_the_shares_when_times_differ() -> None:
    members = at(*(f"2026-01-{day:02}T08:00" for day in range(1, 21)))
    splits = divide(members, TIMED, 0).splits
    assert [splits.count(split) for split in ("train", "validation", "test")] == [24, 6, 10]


def test_divide_takes_calibration_from_the_oldest() -> None:
    data = TIMED.model_copy(update={"splits": TIMED.splits.model_copy(update={"calibration": 0.2})})
    members = at(*map(str, range(100)))
    three, four = divide(members, TIMED, 0).splits, divide(members, data, 0).splits
    assert 20 <= four.count("calibration") <= 60
    assert all(
        before == after or (before, after) == ("train", "calibration")
        for before, after in zip(three, four, strict=True)
    )


def test_divide_refuses_a_label_that_only_newer_samples_have() -> None:
    members = [*at(*map(str, range(20))), Member(identity("late"), "late", time="19")]
    with pytest.raises(DataError, match="late: 1"):
        divide(members, TIMED, 0)


def test_divide_tells_of_a_label_that_only_old_samples_have() -> None:
    members = [*at(*map(str, range(20))), Member(identity("early"), "early", time="0")]
    assert "1 label(s) have no sample in test: early" in divide(members, TIMED, 0).remarks


def test_divide_refuses_when_there_are_fewer_times_than_splits() -> None:
    with pytest.raises(DataError, match="only 2 different time"):
        divide(at("1", "2", "2"), TIMED, 0)


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["10", "9", "-1.5e3"], [2, 1, 0]),
        (["2026-03-01", "2026-02-28T23:59:59", "2025-12-31"], [2, 1, 0]),
        (["2026-03-01T01:00+02:00", "2026-03-01T00:00Z"], [0, 1]),
    ],
)
def test_read_times_orders_numbers_and_dates(values: list[str], order: list[int]) -> None:
    assert np.argsort(read_times(values)).tolist() == order


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "2", "soon\n"], [r"'soon\\n'", "1 of 3"]),
        (["1", "2", "2026-03-01"], ["'2026-03-01'"]),
        (["1", "2", "nan"], ["'nan'"]),
        (["1", "2", None, ""], ["(none)", "2 of 4"]),
        (["2026-03-01", "2026-03-02", "2026-03-01T00:00Z"], ["'2026-03-01T00:00Z'"]),
    ],
)
def test_read_times_refuses_with_examples_when_times_are_mixed(values: list[str], words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        read_times(values)
    assert all(word in str(refused.value) for word in words)
    assert "ISO 8601" in str(refused.value)
