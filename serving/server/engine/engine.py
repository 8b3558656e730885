"""The engine: it turns inputs into predictions, using the whole machine and no more than that."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, ErrorDetail, Prediction
from serving.model.timings import Timings
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher

T = TypeVar("T")
ACCELERATED = frozenset({"onnxruntime-cuda", "onnxruntime-tensorrt"})


class Engine:
    """Predicts in worker threads, and in batches where the model runs on an accelerator.

    On a CPU, a thread decodes an input and runs the model on it alone: a batch of EfficientNet costs more per
    input there than single runs do. On an accelerator, the threads only decode, and the batcher runs the
    model on all decoded inputs that wait.

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

        def run(array: NDArray[Any]) -> NDArray[np.float32]:
            start = time.perf_counter()
            row: NDArray[np.float32] = predictor.score([array])[0]
            timings.session_s += time.perf_counter() - start
            return row

        async def score_one(array: NDArray[Any]) -> NDArray[np.float32]:
            if predictor.artifact.runtime in ACCELERATED:
                return await self.batcher.score(predictor, array, timings)
            return await self.admission.run(functools.partial(run, array), timings, until)

        calls = [functools.partial(score_one, array) for array in arrays]
        with self.admission.admit():
            return np.stack(await _in_lanes(calls, self.admission.threads))

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
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [results[index] for index in range(len(calls))]
