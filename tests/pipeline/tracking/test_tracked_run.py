"""A finished run that is told to a real SQLite store of MLflow and to TensorBoard, and read back by both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from pipeline.artifacts.history import Epoch, read_history
from pipeline.files.layout import RunFolder
from pipeline.measures.records import read_metrics
from pipeline.recipe.reading import hash_recipe, load_recipe
from pipeline.run.runner import open_run, run_all
from pipeline.run.stages import STAGES
from pipeline.tracking.events import EpochJudged, Evaluated, Packaged, RunBegun, StageEnded, Trained, Verdict
from pipeline.tracking.history import read_moments
from tests.conftest import free_port
from tests.pipeline.tracking.stores import Place, make_place

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The run is repeated with both trackers, and then once more."""
    place = make_place(tmp_path_factory.mktemp("tracked"), tiny_run)
    for _ in range(2):
        results = run_all(open_run(place.folder.root))
        assert all(result.skipped for result in results)  # nothing is redone for the trackers
    return place


def epochs_of(folder: RunFolder) -> tuple[Epoch, ...]:
    return read_history(folder.checkpoint).epochs


def test_every_run_has_a_history(tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    events = [moment.event for moment in read_moments(folder.history)]
    stages = [event.stage for event in events if isinstance(event, StageEnded) and event.state == "done"]
    assert stages == [stage.name for stage in STAGES]
    judged = [event.figures for event in events if isinstance(event, EpochJudged)]
    assert tuple(judged) == epochs_of(folder)
    start, *_ = (event for event in events if isinstance(event, RunBegun))  # others may have repeated it
    assert start.recipe_sha256 == hash_recipe(load_recipe(folder.recipe))
    assert {"torch", "graft-ml"} <= set(start.versions)
    (evaluated,) = (event for event in events if isinstance(event, Evaluated))
    assert evaluated.intervals_95 == read_metrics(folder.metrics).intervals_95
    (verdict,) = (event for event in events if isinstance(event, Verdict))
    receipt = json.loads(folder.receipt.read_text())
    assert (verdict.passed, verdict.agreement) == (receipt["passed"], receipt["agreement"])
    (packaged,) = (event for event in events if isinstance(event, Packaged))
    assert packaged.bento == json.loads(folder.bento.read_text())["bento"]
    assert [event.mode for event in events if isinstance(event, Trained)] == [
        read_history(folder.checkpoint).trained.mode
    ]


def test_the_history_is_no_output_and_is_not_shipped(tiny_run: Path, place: Place) -> None:
    for marker in (tiny_run / ".stages").glob("*.json"):
        assert "history.jsonl" not in json.loads(marker.read_text())["outputs"]
    bundled = [path.name for path in place.folder.bundle.rglob("*")]
    assert "history.jsonl" not in bundled
    before = (tiny_run / "history.jsonl").read_bytes()
    assert place.folder.history.read_bytes().startswith(before)  # it is only appended to


def test_a_repeated_command_tells_no_result_again(place: Place) -> None:
    events = [moment.event for moment in read_moments(place.folder.history)]
    for kind in (Trained, Evaluated, Verdict, Packaged):
        assert len([event for event in events if isinstance(event, kind)]) == 1
    assert len([event for event in events if isinstance(event, RunBegun)]) >= 3


def test_mlflow_has_one_run_with_everything(place: Place) -> None:
    (run,) = place.runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tiny"
    assert run.data.params["finetune.epochs"] == "2"
    assert run.data.params["image.size"] == "64"
    assert not [key for key in run.data.params if key.startswith("tracking")]
    metrics = read_metrics(place.folder.metrics)
    low, high = metrics.intervals_95.macro_f1
    assert run.data.metrics["test/macro_f1"] == metrics.macro_f1
    assert (run.data.metrics["test/macro_f1_low"], run.data.metrics["test/macro_f1_high"]) == (low, high)
    assert run.data.metrics["receipt/onnx-fp32/passed"] == 1
    assert metrics.transfer is not None
    assert run.data.metrics["transfer/difference"] == metrics.transfer.difference
    assert run.data.tags["graft.transfer"] == metrics.transfer.answer
    points = place.client().get_metric_history(run.info.run_id, "lp-ft/validation_loss")
    assert {point.step: point.value for point in points} == {
        each.epoch: each.validation_loss for each in epochs_of(place.folder)
    }
    assert len(points) == len(epochs_of(place.folder))
    assert run.data.tags["graft.bento"] == json.loads(place.folder.bento.read_text())["bento"]


def test_mlflow_holds_the_files(place: Place, tmp_path: Path) -> None:
    client, (run,) = place.client(), place.runs()
    found = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    names = {path.relative_to(found).as_posix(): path for path in found.rglob("*") if path.is_file()}
    folder = place.folder
    assert names["recipe.yaml"].read_bytes() == folder.recipe.read_bytes()
    assert names["receipts/onnx-fp32.json"].read_bytes() == folder.receipt.read_bytes()
    assert names["evaluate/report.html"].read_bytes() == folder.report.read_bytes()
    assert names["evaluate/metrics.json"].read_bytes() == folder.metrics.read_bytes()


def test_tensorboard_has_each_point_once(place: Place) -> None:
    ((name, board),) = place.boards_read().items()
    assert name.startswith("tiny-20")
    points = board.Scalars("lp-ft/validation_accuracy")
    assert [(point.step, point.value) for point in points] == [
        (each.epoch, pytest.approx(each.validation_accuracy)) for each in epochs_of(place.folder)
    ]
    (accuracy,) = board.Scalars("test/accuracy")
    assert accuracy.value == pytest.approx(read_metrics(place.folder.metrics).accuracy)
    assert "_hparams_/session_start_info" in board.summary_metadata
    (picture,) = board.Images("report/Confusion matrix")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert (picture.width, picture.height) == (506, 418)


def test_a_real_tensorboard_shows_the_curves(place: Place) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(place.boards), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        (run,) = place.boards_read()
        query = urllib.parse.urlencode({"run": run, "tag": "lp-ft/validation_loss"})
        points = ask(f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?{query}", process)
    finally:
        process.terminate()
        process.wait(30)
    assert [step for _, step, _ in points] == [each.epoch for each in epochs_of(place.folder)]
    losses = [value for _, _, value in points]
    assert losses == pytest.approx([each.validation_loss for each in epochs_of(place.folder)])


def ask(url: str, process: subprocess.Popen[bytes]) -> list[list[float]]:
    """What the server answers once it has read the files."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: list[list[float]] = json.load(answer)
                return found
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer; the server's exit code is {process.poll()}")
