from __future__ import annotations

import pytest

from pipeline.machine import launch
from pipeline.machine.launch import Launch, launched, thread_limit


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


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, 6),
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "99"}, 6),
        ({"OMP_NUM_THREADS": "0"}, 6),
        ({"OMP_NUM_THREADS": "many"}, 6),
        # torchrun sets it to 1 by itself.
        ({"OMP_NUM_THREADS": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, 3),
    ],
)
def test_thread_limit_is_that_of_openmp_unless_a_launcher_set_it(
    given: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "cpu_limit", lambda: 6)
    assert thread_limit(given) == threads
