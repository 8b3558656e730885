"""``/predict`` and ``/predict_batch``."""

from __future__ import annotations

from typing import Any

from serving.model.schemas import BatchPredictions, ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.bodies import image, text
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.http.exchange import Exchange
from serving.server.http.replies import Reply
from serving.server.observing.metrics import Metrics

MAX_ITEMS = 256
# How each modality's requests arrive.
READERS: dict[str, Any] = {"image": image, "text": text}


class PredictHandlers:
    """Answers requests for predictions.

    Args:
        live: The model that answers.
        engine: What runs it.
        metrics: Where predictions are counted.
    """

    def __init__(self, live: LiveModel, engine: Engine, metrics: Metrics) -> None:
        self._live = live
        self._engine = engine
        self._metrics = metrics

    async def one(self, exchange: Exchange) -> Reply:
        """Classify one input."""
        self._engine.admission.require_room()
        predictor, top_k = self._live.predictor, exchange.top_k()
        data = await READERS[predictor.manifest.input.modality].read_one(exchange.request)
        exchange.timings = timings = Timings()
        answer = await self._engine.predict(predictor, data, timings)
        self._metrics.count_predictions([answer], timings)
        return _reply(_shortened(answer, top_k), exchange)

    async def many(self, exchange: Exchange) -> Reply:
        """Classify many inputs: one result or one error an item, in order."""
        self._engine.admission.require_room()
        predictor, top_k = self._live.predictor, exchange.top_k()
        items = await READERS[predictor.manifest.input.modality].read_many(exchange.request, MAX_ITEMS)
        exchange.timings = timings = Timings()
        answers = await self._engine.predict_many(predictor, items, timings)
        self._metrics.count_predictions(answers, timings)
        return _reply(BatchPredictions(predictions=[_shortened(answer, top_k) for answer in answers]), exchange)


def _shortened(answer: Prediction | ErrorBody, top_k: int | None) -> Prediction | ErrorBody:
    return answer.top(top_k) if top_k is not None and isinstance(answer, Prediction) else answer


def _reply(body: Prediction | ErrorBody | BatchPredictions, exchange: Exchange) -> Reply:
    assert exchange.timings is not None
    return Reply(body.to_bytes(), headers={"server-timing": exchange.timings.to_header(exchange.seconds())})
