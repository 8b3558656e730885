"""A kind of input from a wheel that pip has installed: its samples are files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, run_graft
from tests.kinds.installing import HERE, build_wheel

POINTS = {
    "graft.modalities": {"level": "graft_levels.modality:LEVEL"},
    "graft.inputs": {"level": "graft_levels.served:LEVEL"},
}


def make_recordings(folder: Path) -> Path:
    """40 quiet and 40 loud recordings of 200 moments each."""
    rng = np.random.default_rng(0)
    for label, mean in (("loud", 150), ("quiet", 90)):
        (folder / label).mkdir(parents=True)
        for index in range(40):
            levels = np.clip(rng.normal(mean, 30, 200), 0, 255).astype(np.uint8)
            (folder / label / f"{index:02d}.level").write_bytes(levels.tobytes())
    return folder


@pytest.mark.slow
def test_kind_of_an_installed_wheel_is_trained_and_predicts_files(tmp_path: Path) -> None:
    files = {path.name: path.read_text() for path in (HERE / "levels").iterdir() if path.is_file()}
    wheel = build_wheel(tmp_path, "graft_levels", files, POINTS)
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        target,
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    env = {"PYTHONPATH": f"{target}{os.pathsep}{ROOT}"}
    data, run = make_recordings(tmp_path / "recordings"), tmp_path / "run"

    done = run_graft("init", data, "--output", tmp_path / "recipe.yaml", "--json", env=env)
    assert json.loads(done.stdout)["modality"] == "level"
    summary = json.loads(run_graft("run", tmp_path / "recipe.yaml", "--run", run, "--json", env=env).stdout)
    assert summary["receipt"]["passed"]
    assert summary["metrics"]["accuracy"] >= 0.9

    answers = [data / "loud" / "00.level", data / "quiet" / "00.level"]
    found = json.loads(run_graft("predict", run, *answers, "--json", env=env).stdout)
    assert [answer["label"] for answer in found] == ["loud", "quiet"]
    refused = run_graft("predict", run, "--text", "x", env=env, check=1)
    assert "takes recordings. Name their files" in refused.stderr

    without = run_graft("run", tmp_path / "recipe.yaml", "--run", run, check=1)
    assert "modality: is 'level'; known are image, text." in without.stderr
