from __future__ import annotations

import errno
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.finetune.course.course import Course
from pipeline.finetune.course.loop import train
from pipeline.finetune.plan import Rates
from pipeline.finetune.resuming import files as resuming_files
from pipeline.finetune.resuming.file_keeper import FileKeeper
from pipeline.finetune.resuming.stopping import Stops
from pipeline.finetune.resuming.tree import flatten, size_of
from pipeline.finetune.steps.objective import BatchLoss
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.modalities.tensors import hash_tensors
from tests.pipeline.finetune.resuming import crashing
from tests.pipeline.finetune.resuming.crashing import PLAN, fit, hash_outcome, prepared, unfinished

STEPS = 7  # in an epoch of the plan
NEVER = 1e6  # minutes


class Crash(BaseException):
    """What ends a training in this process as a crash would."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "unfinished"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were carried out, each as the number of those before it."""
    done: list[int] = []
    step = Training._step

    def counted(self: Training, indices: object) -> torch.Tensor:
        done.append(len(done))
        return step(self, indices)

    monkeypatch.setattr(Training, "_step", counted)
    return done


def do_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, act: Callable[[], object]) -> None:
    """Do something right after a method of the training was called for the N-th time."""
    method, calls = getattr(Training, name), []

    def acting(self: Training, *values: object) -> object:
        result = method(self, *values)
        calls.append(1)
        if len(calls) == number:
            act()
        return result

    monkeypatch.setattr(Training, name, acting)


def crash() -> None:
    raise Crash


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, **choices: object) -> None:
    """Carry out a training that ends without a word after a step."""
    with monkeypatch.context() as patch:
        do_at(patch, "_step", step, crash)
        with pytest.raises(Crash):
            fit(**choices)


def test_a_training_that_is_killed_again_and_again_ends_in_the_weights_of_one_that_is_not(
    tmp_path: Path,
) -> None:
    chance = random.Random(0)
    points = [f"step:{chance.randint(1, 6)}" for _ in range(3)]
    points += ["validation:1", "write:2", "written:1", "write:1", "outcome:1"]
    (tmp_path / "whole").mkdir()
    script = [sys.executable, crashing.__file__, str(tmp_path), "lp-ft", *points]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=300, check=True)
    result = json.loads(told.stdout)
    assert result["killed"] == len(points)
    assert result["last"] == result["whole"]


@pytest.mark.parametrize("mode", ["full", "gradual", "lora"])
def test_every_strategy_goes_on_to_the_same_weights(
    mode: str, place: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    plan = replace(PLAN, rates=replace(PLAN.rates, schedule="one-cycle"), epochs=4)
    whole = hash_outcome(fit(None, mode, plan))
    crash_at(monkeypatch, 2 * STEPS + 2, folder=place, mode=mode, plan=plan)
    steps.clear()
    assert hash_outcome(fit(place, mode, plan)) == whole
    assert len(steps) == 2 * STEPS - 1  # one step was not kept: the crash came before its checkpoint


def test_features_are_an_outcome_without_a_step(place: Path, steps: list[int]) -> None:
    outcome = fit(place, "features")
    assert (outcome.kept.epoch, len(steps)) == (0, 0)
    assert hash_outcome(fit(place, "features")) == hash_outcome(outcome)


def test_a_finished_training_is_not_repeated_and_leaves_chance_as_it_was_then(
    place: Path, steps: list[int]
) -> None:
    first, drawn = fit(place), torch.rand(1)
    steps.clear()
    again = fit(place)
    assert (hash_outcome(again), steps) == (hash_outcome(first), [])
    assert torch.rand(1) == drawn
    assert [path.name for path in (place / "lp-ft").iterdir()] == ["outcome.safetensors"]


def test_checkpoints_are_made_by_time_and_by_epoch_and_two_are_kept_with_their_epochs_start(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(monkeypatch, STEPS + 3, folder=place, minutes=NEVER)
    assert names(place) == ["000001"]  # the start of the second epoch
    crash_at(monkeypatch, 4, folder=place)  # after each step, from there
    assert names(place) == ["000001", "000003", "000004"]


def names(place: Path) -> list[str]:
    return sorted(path.stem for path in (place / "lp-ft").iterdir())


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    damage: str, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = hash_outcome(fit())
    crash_at(monkeypatch, STEPS + 4, folder=place)
    newest = max((place / "lp-ft").iterdir())
    data = newest.read_bytes()
    middle = len(data) // 2
    damaged = {
        "truncated": data[:middle],
        "changed": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "emptied": b"",
    }
    newest.write_bytes(damaged[damage])
    with caplog.at_level(logging.INFO, "graft"):
        assert hash_outcome(fit(place)) == whole
    assert f"{newest.name}: is damaged" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    assert "goes on in epoch 2 of 3, after step 2" in caplog.text


def test_a_training_whose_checkpoints_are_all_damaged_begins_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    whole = hash_outcome(fit())
    crash_at(monkeypatch, STEPS + 4, folder=place)
    for path in (place / "lp-ft").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    steps.clear()
    assert hash_outcome(fit(place)) == whole
    assert len(steps) == 3 * STEPS


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"finetune": {"epochs": 5}}, r"finetune\.epochs \(3 before, 5 now\)"),
        ({"threads": 4}, r"threads \(none before, 4 now\)"),
        ({"versions": {"torch": "3.0"}}, r"versions\.torch \(none before, 3\.0 now\)"),
        ({"CPU capability": "SSE"}, r"CPU capability \(\w+ before, SSE now\)"),
    ],
)
def test_what_has_changed_is_refused_by_name_with_the_remedy(
    change: dict[str, object], told: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(monkeypatch, 3, folder=place)
    for name in ("lp-ft", "another"):  # whichever training of the stage comes first
        keeper = FileKeeper(unfinished(place, **change), name)
        with pytest.raises(GraftError, match=told) as caught:
            train(prepared(), PLAN, strategy_named("lp-ft"), keeper)
        assert "To begin anew: graft finetune RUN --force" in str(caught.value)


def test_another_plan_is_refused_and_more_or_fewer_checkpoints_are_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(monkeypatch, 3, folder=place)
    with pytest.raises(GraftError, match=r"plan\.rates\.learning_rate \(0\.02 before, 0\.01 now\)"):
        fit(place, plan=replace(PLAN, rates=replace(PLAN.rates, learning_rate=0.01)))
    kept = {"finetune": {"epochs": 3, "checkpoint_minutes": 1.0}}
    train(prepared(), PLAN, strategy_named("lp-ft"), FileKeeper(unfinished(place, **kept), "lp-ft"))


def test_what_changes_in_place_after_the_epochs_start_was_kept_does_not_reach_it() -> None:
    course = Course(prepared(), PLAN, strategy_named("lp-ft"))
    start = course.copied_state()
    document, tensors = flatten(start)
    before = document, hash_tensors(tensors)
    course.run_epoch(Stops())
    document, tensors = flatten(start)
    assert (document, hash_tensors(tensors)) == before
    assert size_of(start) == sum(value.nbytes for value in tensors.values())


def fail_above(monkeypatch: pytest.MonkeyPatch, scale: float, value: float) -> None:
    """Let losses of the second epoch run away while the rate is above a share of its peak."""
    loss, taken = BatchLoss.__call__, Training.__init__

    def remember(self: Training, *values: object) -> None:
        taken(self, *values)
        self.loss.training = self

    def failing(self: BatchLoss, indices: object) -> object:
        result, schedule = loss(self, indices), self.training.schedule
        if schedule.scale > scale and schedule.taken == STEPS + 3:
            return replace(result, mean=result.mean * value)
        return result

    monkeypatch.setattr(Training, "__init__", remember)
    monkeypatch.setattr(BatchLoss, "__call__", failing)


@pytest.mark.parametrize(("value", "told"), [(math.nan, "no longer a number"), (1e3, "has risen from")])
def test_a_loss_that_runs_away_goes_back_to_the_epochs_start_at_half_the_rate_also_over_a_crash(
    value: float,
    told: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    steps: list[int],
) -> None:
    fail_above(monkeypatch, 0.3, value)
    whole = fit()
    assert len(steps) == 5 * STEPS  # the second epoch three times
    assert "epoch 2 of 3" in caplog.text
    assert told in caplog.text
    assert "at 0.25 of the learning rate (finetune.learning_rate: 0.02)" in caplog.text
    for step in (STEPS + 5, STEPS + 6, 2):  # before it goes back, after it has, and at the lowest rate
        crash_at(monkeypatch, step, folder=place)
    assert hash_outcome(fit(place)) == hash_outcome(whole)


def test_a_loss_that_always_runs_away_fails_with_the_key_to_change_and_keeps_nothing(place: Path) -> None:
    with pytest.raises(GraftError, match=r"Lower finetune\.learning_rate \(now 1e\+30\)"):
        fit(place, plan=replace(PLAN, rates=Rates(1e30, warmup=0.0)))
    assert not place.exists()


def test_a_first_loss_that_is_no_number_is_not_blamed_on_the_rate(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = BatchLoss.__call__

    def failing(self: BatchLoss, indices: object) -> object:
        result = loss(self, indices)
        return replace(result, mean=result.mean * math.nan)

    monkeypatch.setattr(BatchLoss, "__call__", failing)
    with pytest.raises(GraftError, match="before anything has trained"):
        fit(place)


def test_a_full_disk_is_told_once_and_training_goes_on_and_keeps_again_when_it_can(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = hash_outcome(fit())
    crash_at(monkeypatch, STEPS + 2, folder=place)
    before = {path: path.read_bytes() for path in (place / "lp-ft").iterdir()}
    with monkeypatch.context() as patch:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(atomic.os, "fsync", full)
        crash_at(monkeypatch, 4, folder=place)
    assert {path: path.read_bytes() for path in (place / "lp-ft").iterdir()} == before
    assert caplog.text.count("a checkpoint could not be written") == 1
    assert "No space left on device" in caplog.text
    assert "Free some space there" in caplog.text
    crash_at(monkeypatch, 4, folder=place)
    assert names(place) != [path.stem for path in before]
    assert hash_outcome(fit(place)) == whole


@pytest.mark.parametrize("where", ["_step", "compute_validation_logits"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_makes_a_checkpoint_and_then_has_its_usual_effect(
    where: str,
    number: signal.Signals,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    steps: list[int],
) -> None:
    whole, came = hash_outcome(fit()), []
    before = signal.signal(number, lambda *_: came.append(1))
    try:
        with monkeypatch.context() as patch:
            do_at(patch, where, 2, lambda: signal.raise_signal(number))
            with pytest.raises(KeyboardInterrupt):
                fit(place, minutes=NEVER)
        assert signal.getsignal(number).__name__ == "<lambda>"
    finally:
        signal.signal(number, before)
    assert came == [1]
    at = "1 of 3, after step 2" if where == "_step" else "2 of 3, after step 7"
    assert f"stopped in epoch {at}; the same command goes on from there" in caplog.text
    steps.clear()
    assert hash_outcome(fit(place, minutes=NEVER)) == whole
    assert len(steps) == 3 * STEPS - (2 if where == "_step" else 2 * STEPS)


def test_checkpoints_after_epochs_are_left_out_where_they_would_take_too_much_of_the_time(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = resuming_files.write_tree
    monkeypatch.setattr(
        "pipeline.finetune.resuming.file_keeper.write_tree",
        lambda *each: (written.append(each[0].name), write(*each)),
    )
    rare = replace(unfinished(place, NEVER), largest_share=1e-9)
    train(prepared(), replace(PLAN, epochs=2), strategy_named("lp-ft"), FileKeeper(rare, "lp-ft"))
    assert written == ["outcome.safetensors"]
