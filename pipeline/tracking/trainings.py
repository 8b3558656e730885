"""Which training a moment belongs to, for trackers that keep each apart."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.tracking.events import Moment, StageBegun, StageEnded
from pipeline.tracking.tracker import Tracker

BEFORE_TRAINING = "data"


def names_training(moment: Moment, *, is_open: bool) -> bool:
    """Return whether a training is named by a moment, whose time then tells it from all others.

    It is named when it begins anew. Where its beginning is not in the history, since it was made by an
    earlier version of Graft, it is named when it goes on or is found done.

    Args:
        moment: The moment.
        is_open: Whether a training is named already.
    """
    event = moment.event
    if isinstance(event, StageBegun):
        return event.is_new_training or (event.stage == "finetune" and not is_open)
    return isinstance(event, StageEnded) and event.stage == "finetune" and not is_open


@dataclass
class CatchingUp:
    """A tracker that is told of an earlier training as soon as it is clear that it is still the run's.

    That is so when the training goes on or is found done, or when a later stage is carried out, which needs
    it. One that begins anew may be of another recipe, and the earlier one is none of its business.

    Attributes:
        tracker: The tracker.
        past: The moments of the earlier training, of which the tracker may have missed some.
    """

    tracker: Tracker
    past: tuple[Moment, ...] = ()

    def log(self, moment: Moment) -> None:
        """Tell the tracker of the earlier training, if this moment says that it still counts, and of this."""
        event = moment.event
        if isinstance(event, StageBegun | StageEnded) and event.stage != BEFORE_TRAINING:
            past, self.past = self.past, ()
            if not (isinstance(event, StageBegun) and event.is_new_training):
                for earlier in past:
                    self.tracker.log(earlier)
        self.tracker.log(moment)

    def close(self) -> None:
        """Close the tracker."""
        self.tracker.close()
