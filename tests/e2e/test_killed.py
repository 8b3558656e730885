"""``kill -9`` in any stage, then the same command again: the same result as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_graft

pytestmark = pytest.mark.slow
STAGES = ("data", "finetune", "transfer", "evaluate", "export", "verify", "package")
RESULT = (
    "data/samples.csv",
    "checkpoint/model.safetensors",
    "transfer/answers.npz",
    "evaluate/metrics.json",
    "bundle/model.onnx",
    "bundle/manifest.json",
    "package/bento.json",
)
# How long after the stage's first line it is killed: well before its end, even where nothing is left to
# import.
DELAYS_S = {
    "data": 0.02,
    "finetune": 0.5,
    "transfer": 0.5,
    "evaluate": 0.1,
    "export": 0.5,
    "verify": 0.05,
    "package": 0.3,
}


def kill_in(stage: str, folder: Path, delay_s: float) -> None:
    """Start the run, wait for the stage's first line, wait a little more, and kill the process."""
    command = [sys.executable, "-m", "pipeline.cli", "run", str(folder)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT, env=os.environ
    )
    assert process.stderr is not None
    for line in process.stderr:
        if f"{stage}: started" in line:
            timer = threading.Timer(delay_s, process.send_signal, [signal.SIGKILL])
            timer.start()
    process.wait(timeout=300)


def test_run_finishes_with_the_same_result_when_killed_in_every_stage(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is killed in each stage in turn: what a killed command leaves is what the next one finds."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))  # nothing is packaged there yet
    markers = {stage: folder / ".stages" / f"{stage}.json" for stage in STAGES}
    for marker in markers.values():
        marker.unlink()
    for stage in STAGES:
        kill_in(stage, folder, delay_s=DELAYS_S.get(stage, 1.5))
        assert not markers[stage].exists() or stage == "data"
        earlier = STAGES[: STAGES.index(stage)]
        assert all(markers[name].exists() for name in earlier), f"killed before {stage}"
    run_graft("run", folder)
    for name in RESULT:
        assert (folder / name).read_bytes() == (tiny_run / name).read_bytes(), name
    assert [p for p in folder.rglob("*") if "partial" in p.name or p.name.startswith(".pixels")] == []
