"""Batches of a kind of input whose items share runs on a CPU."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.model.inputs.item import Item
from serving.model.inputs.text.kind import TEXT
from serving.model.predictor import Predictor
from serving.model.schemas import ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher
from serving.server.engine.engine import Engine

LABELS = ("few", "many")


class Lengths:
    """A model of texts that says how long a text is, and writes down its runs and can be held back."""

    def __init__(self, max_batch_size: int | None = None) -> None:
        self.artifact = SimpleNamespace(
            name="onnx-fp32", runtime="onnxruntime-cpu", max_batch_size=max_batch_size
        )
        self.preprocessor = self
        self.runs: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Semaphore(0)

    def decode(self, data: bytes) -> Item:
        if not data:
            raise InputRefusedError("empty_input", "The text is empty.")
        return Item(np.zeros(len(data), np.int64))

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.started.release()
        self.go.wait(10)
        self.runs.append([len(array) for array in arrays])
        share = np.array([len(array) / 1000 for array in arrays], np.float32)
        return np.stack([1 - share, share], axis=1)


def predictor_of(model: Lengths, run_elements: int | None = 64) -> Predictor:
    spec = SimpleNamespace(modality="text")
    manifest = SimpleNamespace(name="lengths", version="1", labels=LABELS, input=spec)
    predictor = Predictor(manifest, model)  # type: ignore[arg-type] # both stand in
    predictor.kind = dataclasses.replace(TEXT, run_elements=run_elements)
    return predictor


def with_engine(work: Callable[[Engine], Any], *, threads: int = 1, deadline_s: float = 10) -> Any:
    async def run() -> Any:
        engine = Engine(Admission(threads, 8, deadline_s), Batcher())
        try:
            return await work(engine)
        finally:
            engine.close()

    return asyncio.run(run())


def length_of(answer: Prediction | ErrorBody) -> int:
    assert isinstance(answer, Prediction)
    return round(1000 * answer.probabilities["many"])


TEXTS = [b"x" * length for length in (3, 40, 0, 5, 100, 4, 0, 41)]


def test_answers_come_in_order_and_a_bad_item_fails_no_other() -> None:
    model, timings = Lengths(), Timings()
    answers = with_engine(lambda engine: engine.predict_many(predictor_of(model), TEXTS, timings))
    assert [isinstance(answer, ErrorBody) for answer in answers] == [not text for text in TEXTS]
    assert [length_of(answer) for answer in answers if isinstance(answer, Prediction)] == [
        len(text) for text in TEXTS if text
    ]
    assert model.runs == [[100], [41], [40], [5, 4, 3]], "similar lengths together, at most 64 with padding"
    assert timings.batch_size == 3


def test_the_offline_path_makes_the_same_runs() -> None:
    served, offline = Lengths(), Lengths()
    answers = with_engine(lambda engine: engine.predict_many(predictor_of(served), TEXTS, Timings()))
    assert predictor_of(offline).predict_many(TEXTS) == answers
    assert offline.runs == served.runs


@pytest.mark.parametrize(("max_batch_size", "run_elements"), [(1, 64), (None, None)])
def test_nothing_is_batched_where_the_artifact_or_the_kind_says_no(
    max_batch_size: int | None, run_elements: int | None
) -> None:
    model = Lengths(max_batch_size)
    predictor = predictor_of(model, run_elements)
    with_engine(lambda engine: engine.predict_many(predictor, TEXTS, Timings()))
    assert model.runs == [[len(text)] for text in TEXTS if text]


def test_a_single_request_gets_its_turn_between_the_runs_of_a_batch() -> None:
    model = Lengths()
    predictor = predictor_of(model)

    async def work(engine: Engine) -> None:
        model.go.clear()
        batch = asyncio.create_task(engine.predict_many(predictor, [b"x" * 60] * 6, Timings()))
        await asyncio.to_thread(model.started.acquire)
        single = asyncio.create_task(engine.predict(predictor, b"x" * 7, Timings()))
        await asyncio.sleep(0.05)
        model.go.set()
        assert length_of(await single) == 7
        await batch

    with_engine(work)
    assert model.runs.index([7]) <= 2, "after the run that had begun, and at most one more"


def test_a_batch_whose_last_run_cannot_start_before_the_deadline_is_refused() -> None:
    model = Lengths()
    predictor = predictor_of(model)

    async def work(engine: Engine) -> None:
        model.go.clear()
        batch = asyncio.create_task(engine.predict_many(predictor, [b"x" * 60] * 3, Timings()))
        await asyncio.to_thread(model.started.acquire)
        await asyncio.sleep(0.4)
        model.go.set()
        with pytest.raises(InputRefusedError) as refused:
            await batch
        assert (refused.value.code, refused.value.status) == ("deadline_exceeded", 503)

    with_engine(work, deadline_s=0.3)
    assert model.runs == [[60]]


def test_decoded_inputs_share_runs_too() -> None:
    model = Lengths()
    arrays = [np.zeros(length, np.int64) for length in (3, 40, 5)]
    rows = with_engine(lambda engine: engine.score(predictor_of(model), arrays, Timings()))
    assert np.allclose(rows[:, 1], [0.003, 0.04, 0.005])
    assert model.runs == [[40], [5, 3]]


def test_a_cancelled_batch_waits_for_what_runs_though_its_other_lane_has_not_begun() -> None:
    model = Lengths()
    predictor = predictor_of(model, run_elements=None)

    async def work(engine: Engine) -> None:
        model.go.clear()
        other = asyncio.create_task(engine.predict(predictor, b"x", Timings()))
        await asyncio.to_thread(model.started.acquire)
        batch = asyncio.create_task(engine.predict_many(predictor, [b"xx"] * 4, Timings()))
        await asyncio.to_thread(model.started.acquire)  # one of two threads has its first item
        batch.cancel()
        await asyncio.wait([batch], timeout=0.05)
        assert (batch.done(), engine.admission.admitted) == (False, 2)
        model.go.set()
        await asyncio.wait([batch, other], timeout=5)
        assert (batch.cancelled(), engine.admission.admitted) == (True, 0)

    with_engine(work, threads=2)
    assert sorted(model.runs) == [[1], [2]]
