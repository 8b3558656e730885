"""One process alone; several are tested where they train, in finetune/test_sharing.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipeline.errors import GraftError
from pipeline.machine import processes
from pipeline.machine.processes import ALONE, Processes, join
from tests.conftest import run_graft


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    join.cache_clear()
    yield
    join.cache_clear()


def test_one_process_alone_has_everything() -> None:
    values, rows = torch.tensor([1.5, 2.5]), [np.arange(3), np.arange(3)]
    ALONE.add(values)
    ALONE.take_first(values)
    ALONE.check_equal("nothing", "to compare")
    assert values.tolist() == [1.5, 2.5]
    assert ALONE.share(range(5)) == range(5)
    assert ALONE.gather(rows) == rows
    assert ALONE.is_alone
    assert ALONE.is_first


@pytest.mark.parametrize(("total", "sizes"), [(7, [3, 2, 2]), (2, [1, 1, 0]), (0, [0, 0, 0])])
def test_rows_are_in_one_share_each(total: int, sizes: list[int]) -> None:
    shares = [Processes(rank, 3).share(range(total)) for rank in range(3)]
    assert [row for share in shares for row in share] == list(range(total))
    assert [len(share) for share in shares] == sizes


def test_join_is_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # by itself, somebody else's
    monkeypatch.setitem(sys.modules, "accelerate", None)  # which is not to be imported
    assert join("cpu") is ALONE


def test_join_refuses_accelerate_that_started_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(GraftError, match=r"--cpu it starts only one\. Start them with torchrun"):
        join("cpu")


@pytest.fixture
def _of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_of_two")
def test_join_names_the_extra_when_accelerate_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.machine.extras.find_spec", lambda _: None)
    with pytest.raises(GraftError, match=r"pip install 'graft-ml\[distributed\]'"):
        join("cpu")


@pytest.mark.usefixtures("_of_two")
@pytest.mark.parametrize(("gpus", "told"), [(1, "1 GPU. Start 1 "), (0, "finds no CUDA device")])
def test_join_refuses_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch, gpus: int, told: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with pytest.raises(GraftError, match=told):
        join("cuda")


def test_arrays_travel_without_pickles() -> None:
    arrays = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 4))}
    found = processes._unpack(processes._pack(arrays))
    assert all(np.array_equal(found[name], value) for name, value in arrays.items())
    with pytest.raises(ValueError, match="allow_pickle"):
        processes._unpack(processes._pack({"objects": np.array([{}], object)}))


def test_a_helper_has_nothing_to_do_in_other_commands() -> None:
    done = run_graft("doctor", env=os.environ | {"RANK": "1", "WORLD_SIZE": "2"})
    assert done.stdout == done.stderr == ""
