"""Trackers: what is told of a run as it happens, several of them as one, and one that may fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.recipe.addresses import without_credentials
from pipeline.tracking.events import Moment

log = logging.getLogger("graft")
PATIENCE_S = 300.0


class Tracker(Protocol):
    """Is told of the moments of a run.

    To be told of the same one twice, such as by a command that is repeated, changes nothing.
    """

    def log(self, moment: Moment) -> None:
        """Take note of a moment."""

    def close(self) -> None:
        """Write what is not yet written; no more is told afterwards."""


@dataclass(frozen=True)
class Several:
    """Several trackers as one.

    Attributes:
        trackers: The trackers, in the order in which they are told.
    """

    trackers: tuple[Tracker, ...] = ()

    def log(self, moment: Moment) -> None:
        """Tell each tracker of a moment."""
        for tracker in self.trackers:
            tracker.log(moment)

    def close(self) -> None:
        """Close each tracker."""
        for tracker in self.trackers:
            tracker.close()


@dataclass
class Lenient:
    """A tracker whose failure ends nothing: a training of hours is worth more than its log.

    The first failure is told. The tracker is then left alone for some minutes, so that a server which is gone
    does not hold the training up at every epoch. When it works again it is told of everything that it missed.

    Attributes:
        tracker: The tracker.
        name: What people call it.
        remedy: The sentence that tells people what to do when it fails.
        patience_s: Seconds for which it is left alone after a failure.
        clock: Returns a time in seconds that only grows.
    """

    tracker: Tracker
    name: str
    remedy: str
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    _missed: list[Moment] = field(default_factory=list)
    _failed_at: float | None = None
    _told: bool = False

    def log(self, moment: Moment) -> None:
        """Tell the tracker of a moment, and of those that it missed, unless it failed just now."""
        self._missed.append(moment)
        if self._failed_at is None or self.clock() - self._failed_at >= self.patience_s:
            self._catch_up()

    def close(self) -> None:
        """Try once more to tell what was missed, and close the tracker."""
        self._catch_up()
        if self._missed:
            log.warning("tracking: %s misses the last %d events of this run", self.name, len(self._missed))
        try:
            self.tracker.close()
        except Exception as error:
            self._tell(error)

    def _catch_up(self) -> None:
        try:
            while self._missed:
                self.tracker.log(self._missed[0])
                del self._missed[0]
        except Exception as error:
            self._failed_at = self.clock()
            self._tell(error)
        else:
            self._failed_at = None

    def _tell(self, error: Exception) -> None:
        """Warn of the first failure of this command."""
        if not self._told:
            self._told = True
            reason = first_line(error)
            log.warning(
                "tracking: %s failed (%s); the run goes on, and its history.jsonl holds everything. %s",
                self.name,
                reason,
                self.remedy,
            )


def first_line(error: Exception) -> str:
    """Return the first line of an error, or its class where it says nothing, in 200 characters at most.

    Passwords are taken out before it is cut, since half an address is no longer known as one.
    """
    lines = without_credentials(str(error)).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
