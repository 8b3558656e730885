"""The engine: it turns inputs into predictions, using the whole machine and no more than that."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.model.inputs.item import Item
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, ErrorDetail, Prediction
from serving.model.timings import Timings
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher

T = TypeVar("T")
ACCELERATED = frozenset({"onnxruntime-cuda", "onnxruntime-tensorrt"})
DECODED_AT_ONCE = 4096  # bytes of such inputs as share runs, unless one alone is larger


class Engine:
    """Predicts in worker threads, and in batches where the model runs on an accelerator.

    On a CPU, a thread decodes an input and runs the model on it alone: a batch of EfficientNet costs more per
    input there than single runs do. Where the kind of input says that it is otherwise, as that of texts does,
    the inputs of one request share runs: those of similar length, as many as keep a run short, so that other
    requests get their turns. On an accelerator, the threads only decode, and the batcher runs the model on
    all decoded inputs that wait.

    Args:
        admission: The worker threads and the queue in front of them.
        batcher: Runs the predictors that use an accelerator.
    """

    def __init__(self, admission: Admission, batcher: Batcher) -> None:
        self.admission = admission
        self.batcher = batcher

    def patience(self) -> float:
        """Return the time until which a request that arrives now may wait.

        It is on the clock of ``time.perf_counter``.
        """
        return time.perf_counter() + self.admission.deadline_s

    async def predict(self, predictor: Predictor, data: bytes, timings: Timings) -> Prediction:
        """Predict one input.

        Args:
            predictor: Model to run.
            data: Bytes of the input.
            timings: Timings that are increased by what each stage takes.

        Raises:
            InputRefusedError: The input is invalid, the queue is full, or no thread was free in time.
        """
        with self.admission.admit():
            return await self._predict(predictor, data, timings, self.patience())

    async def predict_many(
        self, predictor: Predictor, items: Sequence[bytes], timings: Timings
    ) -> list[Prediction | ErrorBody]:
        """Predict the items of a batch.

        A batch counts as one request, and as many of its items are processed at the same time as there are
        threads: it uses all of them when there are no other requests, and takes turns with others when there
        are. The last item must be started before the deadline.

        Args:
            predictor: Model to run.
            items: Bytes of each input.
            timings: Timings that are increased by what each stage takes, summed over the items.

        Returns:
            One prediction, or one error where the input was refused, for each item in order.

        Raises:
            InputRefusedError: The queue is full, or no thread was free for an item in time.
        """
        until = self.patience()
        if predictor.runs_together and predictor.artifact.runtime not in ACCELERATED:
            with self.admission.admit():
                return await self._predict_together(predictor, items, timings, until)

        async def answer(item: bytes) -> Prediction | ErrorBody:
            try:
                return await self._predict(predictor, item, timings, until)
            except InputRefusedError as refusal:
                if refusal.status == 503:
                    raise
                return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

        calls = [functools.partial(answer, item) for item in items]
        with self.admission.admit():
            return await _in_lanes(calls, self.admission.threads)

    async def score(
        self, predictor: Predictor, arrays: Sequence[NDArray[Any]], timings: Timings
    ) -> NDArray[np.float32]:
        """Run the model on inputs that are decoded already.

        Args:
            predictor: Model to run.
            arrays: Decoded inputs, of the shape and dtype that the model takes.
            timings: Timings that are increased by what each stage takes, summed over the inputs.

        Returns:
            Probabilities, float32 of shape (inputs, labels).

        Raises:
            InputRefusedError: The queue is full or, on a CPU, no thread was free for an input in time.
        """
        until = self.patience()
        with self.admission.admit():
            if predictor.artifact.runtime not in ACCELERATED:
                return np.stack(await self._score(predictor, arrays, timings, until))
            calls = [functools.partial(self.batcher.score, predictor, array, timings) for array in arrays]
            return np.stack(await _in_lanes(calls, self.admission.threads))

    async def _predict_together(
        self, predictor: Predictor, items: Sequence[bytes], timings: Timings, until: float
    ) -> list[Prediction | ErrorBody]:
        """Decode all items of a batch, then run those that could be decoded, several at a time."""

        def decode(part: Sequence[bytes]) -> list[Item | ErrorBody]:
            return [predictor.decode_or_error(item, timings) for item in part]

        calls = [
            functools.partial(self.admission.run, functools.partial(decode, part), timings, until)
            for part in _divide(items)
        ]
        decoded = [item for part in await _in_lanes(calls, self.admission.threads) for item in part]
        arrays = [item.array for item in decoded if isinstance(item, Item)]
        return predictor.describe_all(decoded, await self._score(predictor, arrays, timings, until))

    async def _score(
        self, predictor: Predictor, arrays: Sequence[NDArray[Any]], timings: Timings, until: float
    ) -> list[NDArray[np.float32]]:
        """Run the model on a CPU; return the probabilities of each input, float32 of shape (labels,)."""

        def score(run: Sequence[int]) -> NDArray[np.float32]:
            start = time.perf_counter()
            rows = predictor.score([arrays[index] for index in run])
            timings.session_s += len(run) * (time.perf_counter() - start)
            timings.batch_size = max(timings.batch_size, len(run))
            return rows

        runs = predictor.plan_runs(arrays)
        calls = [
            functools.partial(self.admission.run, functools.partial(score, run), timings, until)
            for run in runs
        ]
        rows: dict[int, NDArray[np.float32]] = {}
        for run, scored in zip(runs, await _in_lanes(calls, self.admission.threads), strict=True):
            rows |= zip(run, scored, strict=True)
        return [rows[index] for index in range(len(arrays))]

    async def _predict(self, predictor: Predictor, data: bytes, timings: Timings, until: float) -> Prediction:
        if predictor.artifact.runtime not in ACCELERATED:
            predict = functools.partial(predictor.predict, data, timings)
            return await self.admission.run(predict, timings, until)
        decode = functools.partial(predictor.timed_decode, data, timings)
        item = await self.admission.run(decode, timings, until)
        return predictor.describe(await self.batcher.score(predictor, item.array, timings), item.truncation)

    def close(self) -> None:
        """Wait until the threads have done all submitted work, and end them."""
        self.admission.close()
        self.batcher.close()


def _divide(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Divide items that are decoded quickly into parts that are worth a change of threads."""
    start, size = 0, 0
    for index, item in enumerate(items):
        if size and size + len(item) > DECODED_AT_ONCE:
            yield items[start:index]
            start, size = index, 0
        size += len(item)
    yield items[start:]


async def _in_lanes(calls: Sequence[Callable[[], Awaitable[T]]], lanes: int) -> list[T]:
    """Await the calls, at most ``lanes`` of them at the same time, and return their results in order.

    The first error cancels all others, as a cancellation does, and is raised once they have ended: a request
    that still has work in a thread has not left.
    """
    results: dict[int, T] = {}
    pending = iter(enumerate(calls))

    async def lane() -> None:
        for index, call in pending:
            results[index] = await call()

    tasks = [asyncio.ensure_future(lane()) for _ in range(min(lanes, len(calls)))]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:  # once: another cancellation would end their wait for what a thread still does
            task.cancel()
        await asyncio.wait(tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in filter(None, errors):
        raise error
    return [results[index] for index in range(len(calls))]
