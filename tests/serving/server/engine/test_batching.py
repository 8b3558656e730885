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


def test_inputs_of_cancelled_requests_are_not_run_and_not_kept() -> None:
    async def work() -> None:
        batcher = Batcher(4)
        model.go.clear()
        first = asyncio.create_task(ask(batcher, model, 1))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(ask(batcher, model, value)) for value in range(8)]
        await asyncio.sleep(0.02)
        for task in rest[:6]:
            task.cancel()
        await asyncio.wait(rest[:6])
        assert len(batcher._waiting) == 2, "they are gone while the device is still busy"
        model.go.set()
        assert await asyncio.gather(first, *rest[6:])
        assert all(task.cancelled() for task in rest[:6])

    model = Doubler()
    asyncio.run(work())
    assert model.sizes == [1, 2]


def test_an_input_is_not_run_when_its_request_is_cancelled_in_the_turn_in_which_it_is_taken() -> None:
    async def work() -> None:
        batcher = Batcher(4)
        gone, kept = (asyncio.create_task(ask(batcher, model, value)) for value in (1, 2))
        await asyncio.sleep(0)  # both wait, and the batch is taken in the next turn
        gone.cancel()
        assert (await kept)[0] == 4
        assert gone.cancelled()

    model = Doubler()
    asyncio.run(work())
    assert model.sizes == [1]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.none() | st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(1, 8),
)
def test_everyone_else_gets_an_answer_whoever_is_cancelled_and_whenever(
    asked: list[tuple[int, int | None]], most: int
) -> None:
    async def ask_for(batcher: Batcher, value: int, turns: int | None) -> float | None:
        task = asyncio.create_task(ask(batcher, model, value))
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.cancel():
                await asyncio.wait([task])
                return None
        return (await task)[0]

    async def work() -> None:
        batcher = Batcher(most)
        answers = await asyncio.gather(*(ask_for(batcher, *each) for each in asked))
        expected = [2 * value for value, _ in asked]
        assert all(
            answer == twice for answer, twice in zip(answers, expected, strict=True) if answer is not None
        )
        assert all(
            answer is not None for answer, (_, turns) in zip(answers, asked, strict=True) if turns is None
        )
        assert not batcher._waiting
        assert (await ask(batcher, model, 4))[0] == 8
        batcher.close()

    model = Doubler()
    asyncio.run(work())


def test_a_model_that_gives_too_few_rows_fails_the_batch_and_leaves_nobody_waiting() -> None:
    class Short(Doubler):
        def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
            return super().score(arrays)[:1]

    async def work() -> None:
        batcher, model = Batcher(8), Short()
        asked = asyncio.gather(*(ask(batcher, model, value) for value in range(3)), return_exceptions=True)
        answers = await asyncio.wait_for(asked, 5)
        assert [type(answer) for answer in answers[1:]] == [ValueError, ValueError]

    asyncio.run(work())
