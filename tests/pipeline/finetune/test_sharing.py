"""Several processes train as one does: two of one `torchrun`, and of two that stand for two hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT, free_port
from tests.pipeline.finetune.together import CASES, SAMPLES, carry_out

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


def results(folder: Path, *agents: subprocess.Popen[str]) -> list[Found]:
    """What each process has seen."""
    for agent in agents:
        output = agent.communicate(timeout=240)[0]
        assert agent.returncode == 0, output
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together") / "two"


@pytest.fixture(scope="module")
def two(folder: Path) -> list[Found]:
    """Two processes of one agent."""
    options = ("--nproc-per-node", 2, "--master-port", free_port())
    return results(folder, start(folder, *CASES, options=options, cpus=set(cpus())))


@pytest.mark.parametrize("name", CASES)
def test_processes_have_equal_weights_and_repeat_them_to_the_bit(two: list[Found], name: str) -> None:
    assert two[0][name]["losses"] == two[1][name]["losses"]
    assert len({digest for found in two for digest in found[name]["hashes"]}) == 1


@pytest.mark.parametrize("name", ["still", "moving", "single"])
def test_processes_train_what_one_trains(two: list[Found], folder: Path, name: str) -> None:
    alone = carry_out(CASES[name])
    for key, value in load_file(folder / f"{name}.safetensors").items():
        assert (value - alone.kept.state[key]).abs().max() <= 1e-5, key
    losses = [epoch.train_loss for epoch in alone.epochs]
    assert two[0][name]["losses"][1:] == pytest.approx(losses[1:], abs=1e-5)


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


def test_two_agents_train_what_one_trains(two: list[Found], folder: Path) -> None:
    port = free_port()
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", port)
    hosts = [
        start(folder.with_name("hosts"), "still", options=("--nnodes", 2, *meeting), cpus={cpu})
        for cpu in cpus()
    ]
    found = results(folder.with_name("hosts"), *hosts)
    assert [each["settings"]["threads"] for each in (*found, *two)] == [1, 1, 1, 1]
    assert {each["still"]["hashes"][0] for each in found} == {two[0]["still"]["hashes"][0]}
