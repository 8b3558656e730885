"""A job in the threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.jobs.rows import Fragment
from pipeline.jobs.work import Work
from pipeline.reporting.progress import track

AHEAD = 2  # fragments a thread that wait while others are answered


def answer_locally(work: Work, fragments: Sequence[Fragment]) -> None:
    """Answer fragments with all CPUs, and show how far the work is.

    Args:
        work: What answers and writes.
        fragments: The fragments.

    Raises:
        GraftError: One of them cannot be written. Those that were being answered are finished first.
    """
    rows = sum(each.rows for each in fragments)
    largest = max((each.rows for each in fragments), default=1)
    for _ in track(_done(work, fragments), total=rows, what="predict", unit="rows", weight=largest):
        pass


def _done(work: Work, fragments: Sequence[Fragment]) -> Iterator[Fragment]:
    threads = work.core.predictor.callers
    waiting: deque[tuple[Fragment, Future[int]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for fragment in fragments:
                if len(waiting) == AHEAD * threads:
                    yield _take(waiting)
                waiting.append((fragment, pool.submit(work.do, fragment)))
            while waiting:
                yield _take(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _take(waiting: deque[tuple[Fragment, Future[int]]]) -> Fragment:
    fragment, future = waiting.popleft()
    future.result()
    return fragment
