"""A run that two processes carry out: the first one speaks and writes, and what is killed is gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, free_port, recipe_document, run_graft

pytestmark = pytest.mark.slow
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port")
ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"),
)
EPOCHS = 8


def start(launcher: tuple[str, ...], *arguments: object) -> subprocess.Popen[str]:
    """A launcher that starts the command twice."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, str(free_port()), "-m", "--", "pipeline.cli", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(launcher: subprocess.Popen[str], *, fails: bool = False) -> tuple[str, str]:
    output, log = launcher.communicate(timeout=300)
    assert (launcher.returncode != 0) == fails, log
    return output, log


@pytest.fixture(scope="module")
def folder(pictures: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data are read, and nothing else."""
    base = tmp_path_factory.mktemp("together")
    document = recipe_document(pictures, tiny_weights)
    document["finetune"] |= {
        "mode": "full", "epochs": EPOCHS, "precision": "fp32", "class_weights": "balanced", "batch_size": 8,
        "checkpoint_minutes": 0.001,
    }  # fmt: skip
    (base / "recipe.yaml").write_text(yaml.safe_dump(document))
    run_graft("data", base / "recipe.yaml", "--run", base / "run")
    return base / "run"
