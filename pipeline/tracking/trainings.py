"""Which training a moment belongs to, for trackers that keep each apart."""

from __future__ import annotations

from pipeline.tracking.events import Moment, StageBegun, StageEnded


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
