"""A tracker that fails harms nothing, and is told later what it missed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from pipeline.artifacts.history import Epoch
from pipeline.tracking.current import tell, tell_epochs, telling
from pipeline.tracking.events import EpochJudged, Moment, StageBegun
from pipeline.tracking.tracker import Lenient
from tests.pipeline.tracking.moments import begun, epoch


@dataclass
class Moody:
    """A tracker that fails as long as it is told to."""

    fails: bool = False
    tries: int = 0
    told: list[Moment] = field(default_factory=list)
    closed: bool = False

    def log(self, moment: Moment) -> None:
        self.tries += 1
        if self.fails:
            raise ConnectionError("http://me:s3cret@host/api refused\nmore")
        self.told.append(moment)

    def close(self) -> None:
        self.closed = True
        if self.fails:
            raise OSError("no")


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_failure_is_told_once_and_what_was_missed_is_made_up_for(caplog: pytest.LogCaptureFixture) -> None:
    inner, clock = Moody(), Clock()
    lenient = Lenient(inner, "MLflow", "Repeat the command", patience_s=60, clock=clock)
    with caplog.at_level(logging.WARNING, "graft"):
        lenient.log(begun())
        inner.fails = True
        for number in (1, 2, 3):
            lenient.log(epoch(number))
        assert inner.tries == 2  # it is left alone after its first failure
        clock.now_s = 61
        lenient.log(epoch(4))
        assert inner.tries == 3
        inner.fails, clock.now_s = False, 122
        lenient.log(epoch(5))
    assert inner.told == [begun(), *map(epoch, (1, 2, 3, 4, 5))]
    (message,) = caplog.messages
    assert "MLflow failed (http://***@host/api refused)" in message
    assert message.endswith("Repeat the command")


def test_a_tracker_that_never_works_again_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    inner = Moody(fails=True)
    with caplog.at_level(logging.WARNING, "graft"), telling(Lenient(inner, "MLflow", "")):
        tell(StageBegun(stage="data"))
    assert inner.closed
    assert "misses the last 1 events" in caplog.messages[-1]


def test_epochs_are_told_to_the_tracker_and_the_watch() -> None:
    inner, watched = Moody(), list[Epoch]()
    with telling(inner):
        watch = tell_epochs("full", 0.7, 0.5, watched.append)
        event = epoch(1).event
        assert isinstance(event, EpochJudged)
        watch(event.figures)
    told = [moment.event for moment in inner.told]
    assert all(isinstance(each, EpochJudged) for each in told)
    assert [each.figures.epoch for each in told if isinstance(each, EpochJudged)] == [0, 1]
    assert [each.epoch for each in watched] == [1]
    tell(StageBegun(stage="data"))
    assert len(inner.told) == 2
