"""Dynamic batching for accelerators, where a batch costs little more than a single input."""

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

        Whatever the model raises is raised for each input of the batch.

        Args:
            scorer: Model that runs the input. Inputs of different models are never in one batch.
            array: The decoded input, of the shape and dtype that the model takes.
            timings: Timings whose ``queue_s`` and ``session_s`` are increased by the wait and by the time of
                the whole batch, and whose ``batch_size`` is set.

        Returns:
            Probabilities, float32 of shape (labels,).
        """
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(scorer, array, timings, future, time.perf_counter()))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            await self._run(self._take())

    def _take(self) -> list[Waiting]:
        """Remove the next batch from the queue: inputs of one model, since a new one may have taken over."""
        batch = [self._waiting.popleft()]
        while self._waiting and len(batch) < self._most and self._waiting[0].scorer is batch[0].scorer:
            batch.append(self._waiting.popleft())
        return batch

    async def _run(self, batch: Sequence[Waiting]) -> None:
        loop, start = asyncio.get_running_loop(), time.perf_counter()
        arrays = [item.array for item in batch]
        for item in batch:
            item.timings.queue_s += start - item.since
        try:
            rows = await loop.run_in_executor(self._thread, batch[0].scorer.score, arrays)
        except Exception as error:
            for item in batch:
                if not item.future.done():
                    item.future.set_exception(error)
            return
        run_s = time.perf_counter() - start
        for item, row in zip(batch, rows, strict=True):
            item.timings.session_s, item.timings.batch_size = item.timings.session_s + run_s, len(batch)
            if not item.future.done():  # a request that was cancelled has cancelled its future
                item.future.set_result(row)

    def close(self) -> None:
        """Wait until the batch that runs has ended, and end the thread."""
        self._thread.shutdown()
