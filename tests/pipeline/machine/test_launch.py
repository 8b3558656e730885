from __future__ import annotations

import pytest

from pipeline.machine.launch import Launch, launched


def test_launched_reads_what_torchrun_sets() -> None:
    given = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    launch = launched(given)
    assert launch == Launch(rank=3, count=4, local_count=2)
    assert launch.is_helper
    assert launch.title == "rank 3 of 4"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "none", "WORLD_SIZE": "many"},
    ],
)
def test_launched_is_alone_unless_number_and_count_are_given(given: dict[str, str]) -> None:
    assert launched(given) == Launch()
    assert not launched(given).is_helper


def test_share_of_threads_is_at_least_one() -> None:
    assert [Launch(0, 4, local).share_of_threads(6) for local in (1, 2, 4, 8)] == [6, 3, 1, 1]
