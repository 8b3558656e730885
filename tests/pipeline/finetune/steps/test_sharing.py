"""Several processes train as one does: two of one `torchrun`, and of two that stand for two hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.finetune.steps.sharing import own_chance, shared_plan
from pipeline.machine.processes import ALONE, Processes
from tests.conftest import ROOT, free_port
from tests.pipeline.finetune.together import CASES, PLAN, SAMPLES, carry_out

pytestmark = pytest.mark.slow
Found = dict[str, Any]


def start(folder: Path, *cases: str, options: tuple[object, ...], cpus: set[int]) -> subprocess.Popen[str]:
    """One agent with the processes that train, on a host of some CPUs."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, options)]
    agent = subprocess.Popen(
        [*command, "-m", "tests.pipeline.finetune.together", str(folder), *cases],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.sched_setaffinity(agent.pid, cpus)
    return agent


def cpus() -> list[int]:
    """Two CPUs of this machine, or twice its only one."""
    return (2 * sorted(os.sched_getaffinity(0)))[:2]


def result(folder: Path, rank: int) -> Found:
    """What a process has seen."""
    return json.loads((folder / f"rank-{rank}.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together") / "two"


@pytest.fixture(scope="module")
def two(folder: Path) -> list[Found]:
    """Two processes of one agent."""
    options = ("--nproc-per-node", 2, "--master-port", free_port())
    agent = start(folder, *CASES, options=options, cpus=set(cpus()))
    output = agent.communicate(timeout=300)[0]
    assert agent.returncode == 0, output
    return [result(folder, rank) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_processes_have_equal_weights_and_repeat_them_to_the_bit(two: list[Found], name: str) -> None:
    assert two[0][name]["losses"] == two[1][name]["losses"]
    assert len({digest for found in two for digest in found[name]["hashes"]}) == 1


@pytest.mark.parametrize("name", ["still", "moving", "gradual", "single"])
def test_processes_train_what_one_trains(two: list[Found], folder: Path, name: str) -> None:
    alone = carry_out(CASES[name])
    for key, value in load_file(folder / f"{name}.safetensors").items():
        assert (value - alone.kept.state[key]).abs().max() <= 1e-5, key
    losses = [epoch.train_loss for epoch in alone.epochs]
    assert two[0][name]["losses"][1:] == pytest.approx(losses[1:], abs=1e-5)


def test_processes_go_on_from_within_an_epoch(two: list[Found]) -> None:
    assert len(two[0]["dropout"]["hashes"]) == 3  # the last is of the one that was stopped
    rest = sum(found["dropout"]["seen again"] for found in two)
    assert SAMPLES < rest < (PLAN.epochs - 1) * SAMPLES


def test_processes_draw_dropout_each_for_itself(two: list[Found]) -> None:
    assert two[0]["dropout"]["hashes"] != two[0]["still"]["hashes"]


def test_every_sample_is_seen_once_an_epoch_by_one_of_the_processes(two: list[Found]) -> None:
    case, batches = CASES["still"], -(-SAMPLES // CASES["still"].plan.batch_size)
    shares = [found["still"]["seen"] for found in two]
    assert Counter(shares[0] + shares[1]) == dict.fromkeys(range(SAMPLES), case.times * case.plan.epochs)
    epochs = case.times * case.plan.epochs
    assert 0 < len(shares[0]) - len(shares[1]) <= batches * epochs  # batches of 7 and 8 samples


def test_more_processes_than_samples_are_refused_with_the_remedy(two: list[Found]) -> None:
    assert two[0]["too few"] == two[1]["too few"]
    assert two[0]["too few"].startswith("2 processes share 1 training samples, so that some would have none.")
    assert "Start 1 processes at most" in two[0]["too few"]


def test_weights_that_differ_end_the_training(two: list[Found]) -> None:
    assert all("The weights of rank 1 differ from those of rank 0" in found["unlike"] for found in two)


@pytest.fixture(scope="module")
def hosts(folder: Path) -> tuple[Found, list[int]]:
    """Two agents whose second process is killed in the end: what the first has seen, and the exit codes."""
    port = free_port()
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", port)
    agents = [
        start(folder.with_name("hosts"), "still", "lost", options=("--nnodes", 2, *meeting), cpus={cpu})
        for cpu in cpus()
    ]
    outputs = [agent.communicate(timeout=300)[0] for agent in agents]
    assert (folder.with_name("hosts") / "rank-0.json").exists(), outputs
    return result(folder.with_name("hosts"), 0), [agent.returncode for agent in agents]


def test_two_agents_train_what_one_trains(two: list[Found], hosts: tuple[Found, list[int]]) -> None:
    assert [found["settings"]["threads"] for found in (hosts[0], *two)] == [1, 1, 1]
    assert hosts[0]["still"]["hashes"] == two[0]["still"]["hashes"]


def test_a_process_whose_peer_on_another_host_is_killed_says_so(hosts: tuple[Found, list[int]]) -> None:
    assert hosts[0]["lost"].startswith("another process of this training has ended or does not answer")
    assert 1 in hosts[1]


def test_own_chance_differs_by_step_and_process_and_leaves_the_rest_alone() -> None:
    generator, before = torch.Generator().manual_seed(0), torch.random.get_rng_state()
    state = generator.get_state()

    def draw(step: int, rank: int) -> float:
        with own_chance(generator, step, "cpu", Processes(rank, 2)):
            return torch.rand(()).item()

    assert len({draw(step, rank) for step in range(3) for rank in range(2)}) == 6
    assert draw(1, 1) == draw(1, 1)
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_batch_norms_are_frozen_on_a_cpu_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="graft"):
        assert shared_plan(PLAN, SAMPLES, Processes(0, 2)).freeze_batch_norm
    assert "batch norms keep their pretrained statistics" in caplog.text
    assert shared_plan(PLAN, SAMPLES, ALONE) is PLAN


def test_batch_norms_see_whole_batches_on_gpus_where_none_gets_no_rows() -> None:
    plan = replace(PLAN, device="cuda")
    assert not shared_plan(plan, SAMPLES, Processes(0, 7)).freeze_batch_norm  # batches of 7 and 8
    assert shared_plan(plan, SAMPLES, Processes(0, 8)).freeze_batch_norm
