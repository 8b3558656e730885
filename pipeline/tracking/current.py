"""The tracker of the run that this process works on, if any.

The work of stages tells it what happens without knowing who listens, or whether anybody does. Their code does
therefore not depend on that of the trackers, and a change of these trains nothing anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.artifacts.history import Epoch
from pipeline.tracking.events import EpochJudged, Event, Moment

if TYPE_CHECKING:
    from pipeline.tracking.tracker import Tracker

_current: ContextVar[Tracker | None] = ContextVar("tracker", default=None)


@contextmanager
def telling(tracker: Tracker) -> Iterator[None]:
    """Let a tracker be told what happens within the block, and close it afterwards.

    Args:
        tracker: The tracker.
    """
    token = _current.set(tracker)
    try:
        yield
    finally:
        _current.reset(token)
        tracker.close()


def tell(event: Event) -> None:
    """Tell the run's tracker of an event now; without a tracker nothing happens."""
    tracker = _current.get()
    if tracker is not None:
        tracker.log(Moment(time=datetime.now(UTC), event=event))


def tell_epochs(
    training: str, head_loss: float, head_accuracy: float, watch: Callable[[Epoch], None]
) -> Callable[[Epoch], None]:
    """Tell the run's tracker of a training's start, and return a function that tells it of each epoch.

    Args:
        training: Name of the training.
        head_loss: Loss of the head that it starts from on validation, in nats, which is told as epoch 0.
        head_accuracy: The head's share of right answers on validation, in [0, 1].
        watch: Is told the same figures of each trained epoch, and may end the training.
    """
    head = Epoch(
        epoch=0,
        train_loss=None,
        validation_loss=head_loss,
        validation_accuracy=head_accuracy,
        samples_per_s=None,
    )
    tell(EpochJudged(training=training, figures=head))

    def told(epoch: Epoch) -> None:
        tell(EpochJudged(training=training, figures=epoch))
        watch(epoch)

    return told
