"""Moments of a training, as the runner and the training tell them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.artifacts.history import Epoch
from pipeline.tracking.events import EpochJudged, Event, Moment, StageBegun

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def at(second: float, event: Event) -> Moment:
    return Moment(time=START + timedelta(seconds=second), event=event)


def begun(second: float = 0, *, resumed: bool = False) -> Moment:
    return at(second, StageBegun(stage="finetune", resumed=resumed))


def epoch(number: int, *, loss: float | None = None, speed: float = 100.0, training: str = "full") -> Moment:
    figures = Epoch(
        epoch=number,
        train_loss=1 / (number + 1),
        validation_loss=1 / (number + 2) if loss is None else loss,
        validation_accuracy=0.5,
        samples_per_s=speed,
    )
    return at(number, EpochJudged(training=training, figures=figures))
