"""A run that two processes carry out: one speaks and writes, and a command that was killed is given again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import ROOT, free_port, recipe_document, run_graft

pytestmark = pytest.mark.slow
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port")
ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"),
)
DEADLINE_S = 60
FINETUNE = {
    "mode": "full",
    "epochs": 12,
    "batch_size": 8,
    "precision": "fp32",
    "class_weights": "balanced",
    "device": "cpu",
}


def start(launcher: tuple[str, ...], *arguments: object) -> subprocess.Popen[str]:
    """A launcher that starts the command twice."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, str(free_port()), "-m", "pipeline.cli", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process_of(launcher: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The process of that number, among those that a launcher has started."""
    children = psutil.Process(launcher.pid).children()
    return next(child for child in children if child.environ().get("RANK") == str(rank))


@pytest.fixture(scope="module")
def run(pictures: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data are read, and nothing else."""
    base = tmp_path_factory.mktemp("together")
    (base / "recipe.yaml").write_text(
        yaml.safe_dump(recipe_document(pictures, tiny_weights, finetune=FINETUNE))
    )
    run_graft("data", base / "recipe.yaml", "--run", base / "run")
    return base / "run"


@pytest.fixture(scope="module")
def killed(run: Path) -> tuple[int, float, str]:
    """Two processes, of which one is killed as it trains: exit code, seconds until the end, and the log.

    There is a checkpoint by then.
    """
    launcher, deadline = start(TORCHRUN, "run", run), time.monotonic() + 200
    while not list(run.glob(".unfinished-finetune/*/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process_of(launcher, 1).send_signal(signal.SIGKILL)
    began = time.monotonic()
    guard = threading.Timer(DEADLINE_S, launcher.kill)
    guard.start()
    log = launcher.communicate()[1]
    guard.cancel()
    return launcher.returncode, time.monotonic() - began, log


def test_a_killed_process_ends_the_other_within_the_deadline(
    killed: tuple[int, float, str], run: Path
) -> None:
    code, seconds, log = killed
    assert code == 1, log
    assert seconds < DEADLINE_S / 2, log
    assert "2 processes share each batch of 8 samples" in log
    assert not (run / ".stages" / "finetune.json").exists()
    assert not (run / "checkpoint").exists()


@pytest.mark.usefixtures("killed")
def test_one_process_does_not_go_on_with_what_two_began(run: Path) -> None:
    refused = run_graft("finetune", run, check=1)
    assert "processes (2 before, 1 now)" in refused.stderr
    assert "To go on, put that back." in refused.stderr


@pytest.mark.usefixtures("killed")
def test_another_launcher_goes_on_and_work_is_told_and_written_once(run: Path) -> None:
    launcher = start(ACCELERATE, "finetune", run, "--json")
    output, log = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, log
    assert [stage["stage"] for stage in json.loads(output)["stages"]] == ["finetune"]
    assert log.count("finetune: goes on in epoch") == 1
    assert log.count("finetune: started") == log.count("finetune: done") == 1
    settings = json.loads((run / "checkpoint" / "history.json").read_text())["settings"]
    assert settings["processes"] == 2
    assert json.loads((run / ".stages" / "finetune.json").read_text())["stage"] == "finetune"
    assert not list(run.glob(".*partial*"))
    done = run_graft("finetune", run)  # of one process, for which there is nothing left to do
    assert "finetune: unchanged, skipped" in done.stderr
