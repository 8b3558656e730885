from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.model.timings import Timings
from serving.server.engine.batching import Batcher


class Doubler:
    """A model whose answer tells which input it belongs to; it counts its batches, and can be held back."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.go.wait(10)
        self.sizes.append(len(arrays))
        if any(array[0] < 0 for array in arrays):
            raise ValueError("negative")
        return np.stack(arrays).astype(np.float32) * 2


async def ask(batcher: Batcher, model: Doubler, value: float) -> tuple[float, Timings]:
    timings = Timings()
    row = await batcher.score(model, np.array([value]), timings)
    return float(row[0]), timings


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 8))
def test_everyone_gets_the_answer_to_its_own_input(values: list[int], most: int) -> None:
    async def work() -> list[tuple[float, Timings]]:
        batcher = Batcher(most)
        answers = await asyncio.gather(*(ask(batcher, model, value) for value in values))
        batcher.close()
        return answers

    model = Doubler()
    answers = asyncio.run(work())
    assert [answer for answer, _ in answers] == [2 * value for value in values]
    assert sum(model.sizes) == len(values)
    assert max(model.sizes) <= most
    assert all(timings.session_s > 0 for _, timings in answers)


def test_what_waits_while_the_device_is_busy_runs_as_one_batch() -> None:
    async def work() -> None:
        batcher = Batcher(8)
        model.go.clear()
        first = asyncio.create_task(ask(batcher, model, 1))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(ask(batcher, model, value)) for value in range(5)]
        await asyncio.sleep(0.05)
        model.go.set()
        await asyncio.gather(first, *rest)
        assert [(await task)[1].batch_size for task in rest] == [5] * 5

    model = Doubler()
    asyncio.run(work())
    assert model.sizes == [1, 5]


def test_requests_of_two_models_are_not_mixed() -> None:
    async def work() -> None:
        batcher = Batcher(8)
        old.go.clear()
        first = asyncio.create_task(ask(batcher, old, 1))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(ask(batcher, model, 1)) for model in (old, new, new)]
        await asyncio.sleep(0.02)
        old.go.set()
        await asyncio.gather(first, *rest)

    old, new = Doubler(), Doubler()
    asyncio.run(work())
    assert (old.sizes, new.sizes) == ([1, 1], [2])


def test_a_run_that_fails_fails_its_own_requests_and_no_later_one() -> None:
    async def work() -> None:
        batcher = Batcher(8)
        with pytest.raises(ValueError, match="negative"):
            await ask(batcher, model, -1)
        assert (await ask(batcher, model, 4))[0] == 8

    model = Doubler()
    asyncio.run(work())
