"""A training that is killed and goes on: one run of MLflow, one curve, and each epoch once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artifacts.history import read_history
from pipeline.run.runner import open_run, run_stage
from pipeline.tracking.events import EpochJudged, StageBegun
from pipeline.tracking.history import read_moments
from tests.conftest import ROOT
from tests.pipeline.tracking.stores import Place, make_place

pytestmark = pytest.mark.slow
EPOCHS = 12
MINUTES = 1e-4  # so that there is a checkpoint after every step, however fast the machine is


def start(place: Place) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli", "finetune", str(place.folder.root)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def told_epochs(place: Place, beyond: int) -> list[int]:
    """The epochs that are told after as many lines."""
    events = [moment.event for moment in read_moments(place.folder.history)[beyond:]]
    return [event.figures.epoch for event in events if isinstance(event, EpochJudged)]


def wait_for_a_checkpoint(place: Place, process: subprocess.Popen[bytes], beyond: int) -> None:
    """Wait until there is a checkpoint, and two trained epochs are told."""
    unfinished = place.folder.unfinished("finetune")
    while not any(unfinished.glob("*/0*")) or len(told_epochs(place, beyond)) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)


def test_a_killed_training_goes_on_in_the_same_run_and_curve(tiny_run: Path, tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_run, epochs=EPOCHS, checkpoint_minutes=MINUTES)
    beyond = len(read_moments(place.folder.history))
    process = start(place)
    wait_for_a_checkpoint(place, process, beyond)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = told_epochs(place, beyond)
    assert 3 <= len(first) < EPOCHS
    run_stage("finetune", open_run(place.folder.root))

    begun = [moment.event for moment in read_moments(place.folder.history)[beyond:]]
    assert [event.resumed for event in begun if isinstance(event, StageBegun)] == [False, True]
    everything = list(range(EPOCHS + 1))
    assert told_epochs(place, beyond) == everything
    assert [each.epoch for each in read_history(place.folder.checkpoint).epochs] == everything
    (run,), (board,) = place.runs(), place.boards_read().values()
    name = "lp-ft/validation_loss"
    logged = place.client().get_metric_history(run.info.run_id, name)
    written = board.Scalars(name)
    assert [each.step for each in logged] == [each.step for each in written] == everything
    kept = [each.validation_loss for each in read_history(place.folder.checkpoint).epochs]
    assert [each.value for each in logged] == kept
    assert run.info.status == "FINISHED"
