"""``graft benchmark`` as a user runs it, on a copy of a finished run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.benchmark.stage import Options, benchmark
from pipeline.files import atomic
from pipeline.run.runner import open_run
from serving.model.bundle import open_bundle
from serving.model.files import hash_file
from serving.model.predictor import load_predictor
from serving.model.runtimes.machine import cpu_limit
from tests.conftest import ROOT, run_graft

pytestmark = pytest.mark.slow
QUICK = ("--threads", "1", "--batches", "1,3", "--rounds", "2", "--seconds", "0.2")


@pytest.fixture
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "tiny")


def publish(run: Path, **changes: str | int) -> None:
    """Name the fp32 file as another artifact too, with a receipt that says so.

    That is a format that shares the file.
    """
    path = run / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    artifact = manifest["artifacts"][0] | changes
    source = json.loads((run / "bundle" / artifact["receipt"]["file"]).read_text())
    receipt = source | {
        "artifact": artifact["name"],
        "runtime": artifact["runtime"],
        "precision": artifact["precision"],
    }
    place = run / "bundle" / "receipts" / f"{artifact['name']}.json"
    atomic.write_json(place, receipt)
    artifact["receipt"] = artifact["receipt"] | {"file": f"receipts/{place.name}", "sha256": hash_file(place)}
    atomic.write_json(path, manifest | {"artifacts": [*manifest["artifacts"], artifact]})


def test_benchmark_measures_every_published_artifact_and_serving_follows_it(copied: Path) -> None:
    found = json.loads(run_graft("benchmark", copied, *QUICK, "--json").stdout)
    published = [artifact.name for artifact in open_bundle(copied / "bundle").manifest.artifacts]
    assert [(row["artifact"], row["threads"], row["batch_size"]) for row in found["rows"]] == [
        (name, 1, size) for name in published for size in (1, 3)
    ]
    for row in found["rows"]:
        _check(row, copied)
    assert json.loads((copied / "benchmark" / "benchmark.json").read_text()) == found
    with Image.open(found["plot"]) as plot:
        plot.load()
        assert plot.width > 500
    defaults = json.loads((copied / "bundle" / "defaults.json").read_text())
    assert defaults == {
        key: found["recommended"].get(key, found["measured_on"])
        for key in ("artifact", "threads", "measured_on")
    }
    assert load_predictor(copied / "bundle").artifact.name == defaults["artifact"]


def _check(row: dict[str, Any], run: Path) -> None:
    receipt = json.loads((run / "bundle" / "receipts" / f"{row['artifact']}.json").read_text())
    assert (row["accuracy"], row["macro_f1"]) == tuple(
        receipt["metrics_artifact"][name] for name in ("accuracy", "macro_f1")
    )
    assert 0 < row["p50_ms_low"] <= row["p50_ms_high"]
    assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert 0 < row["samples_per_s_low"] <= row["samples_per_s"] <= row["samples_per_s_high"]
    assert (
        row["file_mb"] == pytest.approx((run / "bundle" / "model.onnx").stat().st_size / 1e6)
        or row["artifact"] != "onnx-fp32"
    )
    assert 0 < row["cold_start_s"] < 60
    assert 30 < row["peak_rss_mb"] < 350, "more is torch, or memory of the process that started it"


def test_benchmark_prints_a_table_and_leaves_the_run_as_done_as_it_was(copied: Path) -> None:
    lines = run_graft("benchmark", copied, *QUICK).stdout.splitlines()
    assert lines[0].split()[:3] == ["artifact", "threads", "batch"]
    assert lines[1].split()[:3] == ["onnx-fp32", "1", "1"]
    assert len({len(line) for line in lines[:3]}) == 1, "columns stand one below the other"
    assert any(line.startswith("recommended  ") for line in lines)
    verified = json.loads(run_graft("verify", copied, "--json").stdout)
    assert verified["stages"][0]["skipped"] is True


def test_an_artifact_that_cannot_be_run_here_is_a_row_that_says_why(copied: Path) -> None:
    publish(
        copied, name="openvino-int8", runtime="openvino-cpu", precision="int8"
    )  # OpenVINO runs no file in int8 here, or is not installed
    publish(copied, name="one-by-one", max_batch_size=1)
    opened = open_run(copied)
    (copied / "bundle" / "defaults.json").write_text("{")  # cut off; measuring again is the remedy
    threads = (1, cpu_limit() + 1)
    result = benchmark(opened.folder, Options(threads, batches=(1, 2), rounds=2, seconds=0.1))
    rows = [row.to_json() for row in result.rows]
    assert [row["artifact"] for row in rows] == ["onnx-fp32"] * 4 + ["openvino-int8"] + ["one-by-one"] * 4
    assert rows[4]["unavailable"].startswith("OpenVINO")
    assert "p50_ms" not in rows[4]
    assert "openvino-int8: cannot be run here: OpenVINO" in result.to_text()
    assert "one-by-one: runs one input at a time" in result.to_text()


def test_serving_uses_the_threads_and_the_artifact_that_were_found_best(copied: Path) -> None:
    publish(copied, name="again")
    atomic.write_json(
        copied / "bundle" / "defaults.json",
        {"artifact": "again", "threads": cpu_limit(), "measured_on": "a test"},
    )
    assert load_predictor(copied / "bundle").artifact.name == "again"
    session = load_predictor(copied / "bundle").session
    assert session._session.get_session_options().intra_op_num_threads == cpu_limit()


def test_benchmark_refuses_a_run_that_is_not_verified(copied: Path) -> None:
    (copied / ".stages" / "verify.json").unlink()
    refused = run_graft("benchmark", copied, *QUICK, check=1)
    assert "`verify` is not done or outdated. Carry it out first: graft run" in refused.stderr
    assert not (copied / "benchmark").exists()
    assert "is a bundle, and this takes a run" in run_graft("benchmark", copied / "bundle", check=1).stderr


def test_benchmark_names_the_remedy_when_the_recipe_is_not_the_runs_own(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((copied / "recipe.yaml").read_text().replace("bootstrap: 100", "bootstrap: 101"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(copied)
    command = [sys.executable, "-m", "pipeline.cli", "benchmark", str(other)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 1
    advice = (
        "This recipe is not the run's own: name the run's folder, "
        "or carry the recipe out first: graft run RECIPE"
    )
    assert advice in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--threads", "two"], ["--batches", "0,1"], ["--rounds", "1"], ["--seconds", "0"]]
)
def test_benchmark_refuses_settings_that_make_no_sense(arguments: list[str], tmp_path: Path) -> None:
    assert arguments[0] in run_graft("benchmark", tmp_path, *arguments, check=2).stderr
