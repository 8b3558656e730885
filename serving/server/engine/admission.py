"""Admission control: a bounded queue in front of the threads that predict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from serving.model.errors import InputRefusedError
from serving.model.timings import Timings
from serving.server.engine.threads import Threads

T = TypeVar("T")
REMEDY = "Try again later, or at another replica."


class Admission:
    """A pool of worker threads with a bounded queue in front of it.

    A request that finds the queue full is refused at once, and one that waits past its deadline is refused
    then. For single inputs, the bound on the queue also bounds the waiting time (Little's law): the last of
    ``max_queue`` waiting requests waits for ``max_queue / threads`` service times. For batches, only the
    deadline bounds it.

    Args:
        threads: Number of requests processed concurrently.
        max_queue: Number of further requests that may wait.
        deadline_s: Longest time that a request may wait for a thread, in seconds.

    Attributes:
        admitted: Number of requests that are being processed or waiting.
    """

    def __init__(self, threads: int, max_queue: int, deadline_s: float) -> None:
        self.threads = threads
        self.max_queue = max_queue
        self.deadline_s = deadline_s
        self.admitted = 0
        self._threads = Threads(threads, "predict")

    @property
    def waiting(self) -> int:
        """Number of admitted requests that no thread processes yet."""
        return max(0, self.admitted - self.threads)

    def require_room(self) -> None:
        """Refuse a request that arrives while the queue is full.

        This is called before a request's body is read, so that a refusal costs nothing.

        Raises:
            InputRefusedError: ``overloaded`` (HTTP 503): the queue is full.
        """
        if self.admitted >= self.threads + self.max_queue:
            text = f"{self.waiting} requests are waiting, which is the limit. {REMEDY}"
            raise InputRefusedError("overloaded", text, status=503, retry_after_s=1)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request as admitted for as long as the context is open.

        Raises:
            InputRefusedError: ``overloaded`` (HTTP 503): the queue is full.
        """
        self.require_room()
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, work: Callable[[], T], timings: Timings, until: float) -> T:
        """Run a function in one of the threads.

        Where this is cancelled, a function that no thread has started is forgotten, and one that runs is
        waited for: it holds its input, and its thread is not free before.

        Args:
            work: Function to run.
            timings: Timings whose ``queue_s`` is increased by the time spent waiting for a thread.
            until: Time by which a thread must have started the function, on the clock of
                ``time.perf_counter``.

        Returns:
            What the function returns.

        Raises:
            InputRefusedError: ``deadline_exceeded`` (HTTP 503): no thread was free in time.
        """
        submitted = time.perf_counter()

        def start() -> T:
            now = time.perf_counter()
            if now > until:
                raise self._too_late()
            timings.queue_s += now - submitted
            return work()

        # Requests are started in the order of their arrival, and all may wait equally long: those ahead of
        # one that is too late have been started or are too late as well. A late request is therefore refused
        # at its deadline or when a thread is next free, and no timer is needed.
        return await self._threads.run(start)

    def _too_late(self) -> InputRefusedError:
        text = f"The request was not started within {self.deadline_s:g} s. {REMEDY}"
        return InputRefusedError("deadline_exceeded", text, status=503, retry_after_s=1)

    def close(self) -> None:
        """Wait until the threads have done all submitted work, and end them."""
        self._threads.close()
