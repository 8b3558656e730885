from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.server.engine.threads import Threads


def with_threads(work: Callable[[Threads], Awaitable[Any]], count: int = 1) -> Any:
    async def run() -> Any:
        threads = Threads(count, "test")
        try:
            return await work(threads)
        finally:
            await asyncio.to_thread(threads.close)

    return asyncio.run(run())


def test_results_and_errors_reach_their_callers_in_order() -> None:
    done: list[int] = []

    def divide(number: int) -> float:
        done.append(number)
        return 1 / number

    async def work(threads: Threads) -> list[Any]:
        calls = [threads.run(lambda number=number: divide(number)) for number in (4, 0, 2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = with_threads(work)
    assert (first, third, done) == (0.25, 0.5, [4, 0, 2])
    assert isinstance(second, ZeroDivisionError)


def test_an_error_that_no_future_takes_reaches_its_caller_all_the_same() -> None:
    async def work(threads: Threads) -> None:
        await asyncio.wait_for(threads.run(lambda: next(iter(()))), timeout=10)

    with pytest.raises(RuntimeError, match="StopIteration"):
        with_threads(work)


def test_a_loop_that_is_closed_ends_no_thread() -> None:
    release, threads = threading.Event(), Threads(1, "test")

    async def leave() -> None:
        task = asyncio.ensure_future(threads.run(release.wait))
        await asyncio.sleep(0.05)
        task.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    release.set()

    async def ask() -> int:
        return await asyncio.wait_for(threads.run(lambda: 7), timeout=10)

    assert asyncio.run(ask()) == 7
    threads.close()


def test_an_error_leaves_no_circle_that_holds_the_input() -> None:
    class Input:
        def refuse(self) -> None:
            raise ValueError

    async def work(threads: Threads) -> None:
        given = Input()
        kept = weakref.ref(given)
        is_refused = False
        try:  # `pytest.raises` would hold the error
            await threads.run(given.refuse)
        except ValueError:
            is_refused = True
        del given
        assert is_refused
        await asyncio.sleep(0.05)  # the thread drops it too
        assert kept() is None, "only a garbage collection would free it"

    gc.disable()
    try:
        with_threads(work)
    finally:
        gc.enable()


def test_as_many_threads_are_started_as_are_needed_at_a_time() -> None:
    async def work(threads: Threads) -> None:
        for _ in range(5):
            await threads.run(threading.get_ident)
        assert len(threads._threads) == 1
        barrier = threading.Barrier(3, timeout=10)
        await asyncio.gather(*(threads.run(barrier.wait) for _ in range(3)))
        assert len(threads._threads) == 3

    with_threads(work, count=3)


def test_a_cancelled_call_is_forgotten_if_it_waits_and_waited_for_if_it_runs() -> None:
    started, go, ran = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        started.set()
        go.wait(10)
        ran.append("held")

    async def work(threads: Threads) -> None:
        running = asyncio.create_task(threads.run(hold))
        waiting = asyncio.create_task(threads.run(lambda: ran.append("forgotten")))
        await asyncio.to_thread(started.wait)
        waiting.cancel()
        running.cancel()
        await asyncio.sleep(0.05)
        assert (waiting.done(), running.done()) == (True, False)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert ran == ["held"]

    with_threads(work)
    assert ran == ["held"]


def test_another_cancellation_ends_the_wait_for_what_runs() -> None:
    started, go = threading.Event(), threading.Event()

    async def work(threads: Threads) -> None:
        running = asyncio.create_task(threads.run(lambda: (started.set(), go.wait(10))))
        await asyncio.to_thread(started.wait)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0.02)
        assert running.cancelled()
        go.set()

    with_threads(work)


def test_closing_waits_for_what_was_given_and_then_refuses_more() -> None:
    ran: list[int] = []

    async def work(threads: Threads) -> None:
        calls = [asyncio.create_task(threads.run(lambda n=n: ran.append(n))) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(threads.close)
        await asyncio.gather(*calls)
        with pytest.raises(RuntimeError, match="closed"):
            await threads.run(int)

    with_threads(work)
    assert ran == [0, 1, 2, 3, 4]
