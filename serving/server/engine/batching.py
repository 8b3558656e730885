"""Grouping of requests for an accelerator, where a batch costs little more than a single input."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.model.timings import Timings

MOST_INPUTS = 32


class Scorer(Protocol):
    """What a batch is run by; :class:`serving.model.predictor.Predictor` is one."""

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Probabilities of decoded arrays."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One decoded input, and who waits for its answer since when."""

    scorer: Scorer
    array: NDArray[Any]
    timings: Timings
    future: asyncio.Future[NDArray[np.float32]]
    since: float


class Batcher:
    """One thread that runs a model, and the decoded inputs that wait for it.

    Greedy: whenever the device is idle it takes all that waits, up to ``most``. Nobody waits for a batch to fill up, so that a single
    request is as fast as without; batches grow by themselves when requests come faster than the device runs them (as in Clipper,
    https://www.usenix.org/conference/nsdi17/technical-sessions/presentation/crankshaw, without its delay).
    The bound on what waits is :class:`serving.server.engine.admission.Admission`'s.

    Args:
        most: Inputs a run at most.
    """

    def __init__(self, most: int = MOST_INPUTS) -> None:
        self._most = most
        self._waiting: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._busy: asyncio.Task[None] | None = None

    async def score(self, scorer: Scorer, array: NDArray[Any], timings: Timings) -> NDArray[np.float32]:
        """Probabilities, float32 of shape (labels,), of one decoded input; whatever the run raises, each of its inputs raises."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(scorer, array, timings, future, time.perf_counter()))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            await self._run(self._take())

    def _take(self) -> list[Waiting]:
        """What runs next: all of one model, since a new one may have taken over."""
        batch = [self._waiting.popleft()]
        while self._waiting and len(batch) < self._most and self._waiting[0].scorer is batch[0].scorer:
            batch.append(self._waiting.popleft())
        return batch

    async def _run(self, batch: Sequence[Waiting]) -> None:
        arrays, start = [one.array for one in batch], time.perf_counter()
        for one in batch:
            one.timings.queue_s += start - one.since
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._thread, batch[0].scorer.score, arrays)
        except Exception as error:
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(error)
            return
        took = time.perf_counter() - start
        for one, row in zip(batch, rows, strict=True):
            one.timings.session_s, one.timings.batch_size = one.timings.session_s + took, len(batch)
            if not one.future.done():  # whoever asked may have left
                one.future.set_result(row)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()
