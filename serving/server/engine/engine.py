"""Bytes of requests to predictions, with all of the machine and no more than it can do."""

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
    """Predicts in threads: on a CPU decode and model in one go, one request a thread; on an accelerator decode there, then one batch.

    On a CPU a batch of EfficientNet costs more an input than singles, so that requests are not grouped.

    Args:
        admission: The threads, and the queue before them.
        batcher: For predictors on an accelerator.
    """

    def __init__(self, admission: Admission, batcher: Batcher) -> None:
        self.admission = admission
        self.batcher = batcher

    def patience(self) -> float:
        """Until when a request that comes now may wait, by ``time.perf_counter``."""
        return time.perf_counter() + self.admission.deadline_s

    async def predict(self, predictor: Predictor, data: bytes, timings: Timings) -> Prediction:
        """One prediction; raises InputRefusedError."""
        with self.admission.admit():
            return await self._one(predictor, data, timings, self.patience())

    async def predict_many(self, predictor: Predictor, items: Sequence[bytes], timings: Timings) -> list[Prediction | ErrorBody]:
        """One prediction or one refusal an item, in order.

        A batch counts as one request and gives as many of its items at once to the threads as there are threads, so that
        it is as fast as they are where nobody else asks, and others take turns with it where they do. The last of its items must have
        begun before the deadline.
        """
        until = self.patience()

        async def answer(item: bytes) -> Prediction | ErrorBody:
            try:
                return await self._one(predictor, item, timings, until)
            except InputRefusedError as refusal:
                if refusal.status == 503:
                    raise
                return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

        with self.admission.admit():
            return await _in_lanes([functools.partial(answer, item) for item in items], self.admission.threads)

    async def score(self, predictor: Predictor, arrays: Sequence[NDArray[Any]], timings: Timings) -> NDArray[np.float32]:
        """Probabilities, float32 of shape (batch, labels), of decoded inputs; the last of them must have begun before the deadline too."""
        until = self.patience()

        def work(array: NDArray[Any]) -> NDArray[np.float32]:
            start = time.perf_counter()
            row: NDArray[np.float32] = predictor.score([array])[0]
            timings.session_s += time.perf_counter() - start
            return row

        async def row(array: NDArray[Any]) -> NDArray[np.float32]:
            if predictor.artifact.runtime in ACCELERATED:
                return await self.batcher.score(predictor, array, timings)
            return await self.admission.run(functools.partial(work, array), timings, until)

        with self.admission.admit():
            return np.stack(await _in_lanes([functools.partial(row, array) for array in arrays], self.admission.threads))

    async def _one(self, predictor: Predictor, data: bytes, timings: Timings, until: float) -> Prediction:
        if predictor.artifact.runtime not in ACCELERATED:
            return await self.admission.run(functools.partial(predictor.predict, data, timings), timings, until)
        item = await self.admission.run(functools.partial(predictor.timed_decode, data, timings), timings, until)
        return predictor.describe(await self.batcher.score(predictor, item.array, timings), item.truncation)

    def close(self) -> None:
        """End the threads, when they have done what they were given."""
        self.admission.close()
        self.batcher.close()


async def _in_lanes(work: Sequence[Callable[[], Awaitable[T]]], lanes: int) -> list[T]:
    """What each gives, in order, with so many at work at once; the first error ends all."""
    results: dict[int, T] = {}
    todo = iter(enumerate(work))

    async def lane() -> None:
        for index, one in todo:
            results[index] = await one()

    tasks = [asyncio.ensure_future(lane()) for _ in range(min(lanes, len(work)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [results[index] for index in range(len(work))]
