"""Who waits for how long: a bounded queue in front of the threads that predict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from serving.model.errors import InputRefusedError
from serving.model.timings import Timings

T = TypeVar("T")


class Admission:
    """Threads that work, and requests that wait for them. A request past the bound is refused at once, one past its deadline then.

    Of single inputs the bound is one on time too (Little's law): with ``max_queue`` waiting, the last of them waits that many service
    times divided by the threads. Of batches the deadline is.

    Args:
        threads: As many requests are worked on at once.
        max_queue: As many more may wait.
        deadline_s: For so long.
    """

    def __init__(self, threads: int, max_queue: int, deadline_s: float) -> None:
        self.threads = threads
        self.max_queue = max_queue
        self.deadline_s = deadline_s
        self.admitted = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")

    @property
    def waiting(self) -> int:
        """Requests that were admitted and that no thread works on yet."""
        return max(0, self.admitted - self.threads)

    def require_room(self) -> None:
        """Raise InputRefusedError when a request that came now would be refused; before its body is read, so that it costs nothing."""
        if self.admitted >= self.threads + self.max_queue:
            message = f"{self.waiting} requests are waiting, and no more may. Try again later, or at another replica."
            raise InputRefusedError("overloaded", message, status=503, retry_after_s=1)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one request in, for as long as it is worked on; raises InputRefusedError when there is no room."""
        self.require_room()
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, work: Callable[[], T], timings: Timings, until: float) -> T:
        """Do it in one of the threads.

        Args:
            work: What to do.
            timings: Where the wait is written to.
            until: The time, by ``time.perf_counter``, until which a thread must have begun.

        Raises:
            InputRefusedError: ``deadline_exceeded``.
        """
        asked = time.perf_counter()

        def begin() -> T:
            now = time.perf_counter()
            if now > until:
                raise self._too_late()
            timings.queue_s += now - asked
            return work()

        # In the order of their arrival, all with the same patience: whoever is before one that is too late has begun or is too late too.
        # So the refusal comes at the deadline, or when a thread is next free, and no timer is needed.
        return await asyncio.get_running_loop().run_in_executor(self._pool, begin)

    def _too_late(self) -> InputRefusedError:
        message = f"The request waited for {self.deadline_s:g} s and was not begun. Try again later, or at another replica."
        return InputRefusedError("deadline_exceeded", message, status=503, retry_after_s=1)

    def close(self) -> None:
        """End the threads, when they have done what they were given."""
        self._pool.shutdown()
