"""Worker threads whose results come back to the event loop in one step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads:
    """Threads that work off functions in the order in which they were given.

    ``concurrent.futures`` together with ``asyncio.wrap_future`` does the same with two futures a call, a
    condition and several locks, and the thread and the event loop wait for each other's hold on the
    interpreter at each of them.

    Args:
        count: Number of threads. Each is started when all before it are busy for the first time.
        name: Prefix of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._callers = 0  # only the event loop counts them
        self._is_closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run a function in one of the threads, and return what it returns, or raise what it raises.

        Where this is cancelled, a function that no thread has started is forgotten, and one that runs is
        waited for; another cancellation ends that wait.

        Args:
            work: Function to run.

        Raises:
            RuntimeError: The threads are closed.
        """
        if self._is_closed:
            raise RuntimeError("the threads are closed")
        self._callers += 1
        job: _Job[T] = _Job(work)
        try:
            self._start_thread()
            self._jobs.put(job)  # type: ignore[arg-type] # what a job returns goes to its own caller
            return await job.result
        except asyncio.CancelledError:
            await job.give_up()
            raise
        finally:
            self._callers -= 1
            # An error's traceback holds this frame. If this frame held the error, by way of the job, both
            # would stay until the next garbage collection, and the request's input with them.
            del job

    def _start_thread(self) -> None:
        """Start a further thread if those that have been started have enough to do."""
        if len(self._threads) < min(self._callers, self._count):
            name = f"{self._name}_{len(self._threads)}"
            self._threads.append(Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def close(self) -> None:
        """Wait until the threads have done all that was given to them, and end them."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.execute()
            del job  # with the input that it holds, before the wait for the next one


class _Job(Generic[T]):
    """A function that waits for a thread, and whoever waits for what it returns.

    Args:
        work: The function.

    Attributes:
        result: Receives what it returns or raises.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._works = [work]  # whoever takes it out, a thread or a cancelled caller, decides
        self._loop = asyncio.get_running_loop()
        self._has_ended = False
        self.result: asyncio.Future[T] = self._loop.create_future()
        self._end: asyncio.Future[None] | None = None

    def execute(self) -> None:
        """Run the function in this thread, unless its caller has given it up."""
        try:
            work = self._works.pop()
        except IndexError:
            return
        try:
            value = work()
        except StopIteration as error:  # which no future takes
            self._tell(None, RuntimeError(f"the work raised StopIteration ({error})"))
            del self, work  # as in `Threads.run`
        except BaseException as error:  # whatever it is, its caller gets it
            self._tell(None, error)
            del self, work
        else:
            self._tell(value, None)

    def _tell(self, value: T | None, error: BaseException | None) -> None:
        """Hand the end over to the loop; one that is closed has nobody left who waits."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, value, error)

    async def give_up(self) -> None:
        """Forget the function if no thread has started it, and otherwise wait for its end."""
        try:
            self._works.pop()
        except IndexError:
            if not self._has_ended:
                self._end = self._loop.create_future()
                await self._end

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        self._has_ended = True
        if self._end and not self._end.done():
            self._end.set_result(None)
        if self.result.done():  # its caller was cancelled
            return
        if error is None:
            self.result.set_result(value)  # type: ignore[arg-type] # it is what the function returned
        else:
            self.result.set_exception(error)
