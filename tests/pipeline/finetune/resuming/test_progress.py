from __future__ import annotations

import logging

import pytest

from pipeline.finetune.course.course import Course
from pipeline.finetune.resuming.stopping import Stops
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.reporting import progress
from tests.pipeline.finetune.resuming.crashing import PLAN, prepared


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second at each look."""
    now = iter(range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))


@pytest.mark.usefixtures("clock")
def test_lines_tell_the_time_left_of_an_epoch_and_of_all(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "graft"):
        list(progress.track(range(12), total=12, what="epoch 1 of 9", unit="pictures", later=96))
    assert "epoch 1 of 9: 2 of 12 pictures, 0.5/s, 20 s left, 4 min in all" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (119, "119 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    assert progress.in_words(seconds) == words


def test_epochs_tell_the_best_so_far_and_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    course = Course(prepared(), PLAN, strategy_named("lp-ft"))
    with caplog.at_level(logging.INFO, "graft"):
        while not course.is_over:
            course.run_epoch(Stops())
    told = [record.getMessage() for record in caplog.records if "epochs done" in record.getMessage()]
    assert len(told) == 3
    assert told[0].startswith("1 of 3 epochs done; best so far: ")
    assert "; about " in told[1]
    assert "left" not in told[2]
    assert course.kept.best.name in told[2]
