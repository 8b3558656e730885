"""Dynamic batching for accelerators, where a batch costs little more than a single input."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.model.timings import Timings

MOST_INPUTS = 32


class Scorer(Protocol):
    """The model that runs a batch; :class:`serving.model.predictor.Predictor` is one."""

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the probabilities, float32 of shape (batch, labels), of decoded inputs."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A decoded input that waits to be run.

    Attributes:
        scorer: Model that runs it.
        array: The decoded input, of the shape and dtype that the model takes.
        timings: Timings of the request that it belongs to.
        future: Receives the input's probabilities, float32 of shape (labels,), or the error of its batch.
        since: When it began to wait, on the clock of ``time.perf_counter``.
    """

    scorer: Scorer
    array: NDArray[Any]
    timings: Timings
    future: asyncio.Future[NDArray[np.float32]]
    since: float


class Batcher:
    """A queue of decoded inputs, and one thread that runs them on the model in batches.

    Batching is greedy: whenever the device is idle, it takes all inputs that wait, up to ``most``. No input
    waits for a batch to fill up, so that a single request is as fast as without batching; batches grow by
    themselves when requests arrive faster than the device runs them (as in Clipper,
    https://www.usenix.org/conference/nsdi17/technical-sessions/presentation/crankshaw, without its delay).
    :class:`serving.server.engine.admission.Admission` bounds the number of inputs that wait.

    Args:
        most: Largest number of inputs in a batch.
    """

    def __init__(self, most: int = MOST_INPUTS) -> None:
        self._most = most
        self._waiting: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._busy: asyncio.Task[None] | None = None

    async def score(self, scorer: Scorer, array: NDArray[Any], timings: Timings) -> NDArray[np.float32]:
        """Run the model on one decoded input, together with others that wait.

        Whatever the model raises is raised for each input of the batch. Where this is cancelled, an input
        that still waits is forgotten.

        Args:
            scorer: Model that runs the input. Inputs of different models are never in one batch.
            array: The decoded input, of the shape and dtype that the model takes.
            timings: Timings whose ``queue_s`` and ``session_s`` are increased by the wait and by the time of
                the whole batch, and whose ``batch_size`` is set.

        Returns:
            Probabilities, float32 of shape (labels,).
        """
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        item = Waiting(scorer, array, timings, future, time.perf_counter())
        self._waiting.append(item)
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._drain())
        try:
            return await future
        except asyncio.CancelledError:
            with suppress(ValueError):  # it was taken already
                self._waiting.remove(item)
            raise

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._take()
            if batch:
                await self._run(batch)

    def _take(self) -> list[Waiting]:
        """Remove the next batch from the queue: inputs of one model, since a new one may have taken over.

        Inputs that nobody waits for any more are dropped: a request that was cancelled in this very turn of
        the event loop has not removed its own yet.
        """
        batch: list[Waiting] = []
        while self._waiting and len(batch) < self._most:
            item = self._waiting[0]
            if batch and item.scorer is not batch[0].scorer:
                break
            self._waiting.popleft()
            if not item.future.done():
                batch.append(item)
        return batch

    async def _run(self, batch: Sequence[Waiting]) -> None:
        loop, start = asyncio.get_running_loop(), time.perf_counter()
        arrays = [item.array for item in batch]
        for item in batch:
            item.timings.queue_s += start - item.since
        try:
            rows = await loop.run_in_executor(self._thread, batch[0].scorer.score, arrays)
            run_s = time.perf_counter() - start
            for item, row in zip(batch, rows, strict=True):
                item.timings.session_s, item.timings.batch_size = item.timings.session_s + run_s, len(batch)
                if not item.future.done():  # a request that was cancelled has cancelled its future
                    item.future.set_result(row)
        except Exception as error:  # also where there are fewer rows than inputs: nobody may wait for ever
            for item in batch:
                if not item.future.done():
                    item.future.set_exception(error)

    def close(self) -> None:
        """Wait until the batch that runs has ended, and end the thread."""
        self._thread.shutdown()
