"""SIGINT and SIGTERM during a training: it ends at a point from which it can go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The user or the system wants the process to end: no error, which a handler of errors would catch."""


class Stops:
    """Holds SIGINT and SIGTERM back within a block until the training is at a point where it can end.

    A second signal has its usual effect at once. Outside the main thread, where Python gets no signals,
    nothing is held back.

    Args:
        patience_s: Seconds from the signal until the training may end, 0 by default. Of several processes
            those that help the first one give it some time, since it cannot end a step without them.
    """

    def __init__(self, patience_s: float = 0.0) -> None:
        self.signal: int | None = None
        self.came_at = 0.0
        self.patience_s = patience_s
        self._previous: dict[int, Any] = {}
        self._at_once = False

    def check(self) -> None:
        """End the block if a signal has come.

        Raises:
            Stopped: One has.
        """
        if self.signal is not None and time.monotonic() - self.came_at >= self.patience_s:
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal interrupt whatever runs in the block, which changes no state of the training.

        Raises:
            Stopped: A signal came, before the block or in it.
        """
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False

    @contextmanager
    def held(self) -> Iterator[Stops]:
        """Hold signals back within the block; one that came has its usual effect when the block ends.

        Raises:
            KeyboardInterrupt: SIGINT came, or another signal whose handler let the process go on.
        """
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield self
        except Stopped:
            pass
        finally:
            self._give_back()
        if self.signal is not None:
            signal.raise_signal(self.signal)
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's signature
        if self.signal is not None:
            self._give_back()
            signal.raise_signal(number)
            return
        self.signal, self.came_at = number, time.monotonic()
        if self._at_once and not self.patience_s:
            raise Stopped

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
