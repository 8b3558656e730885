"""Handlers of ``/predict`` and ``/predict_batch``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from serving.model.errors import InputRefusedError
from serving.model.schemas import BatchPredictions, Body, ErrorBody, Prediction
from serving.model.timings import Timings
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.http.bodies import read_many, read_one
from serving.server.http.exchange import Exchange
from serving.server.http.refusals import BodyResponse


class PredictionHandlers:
    """Answers requests for predictions.

    Args:
        live: The model that answers.
        engine: What runs it.
    """

    def __init__(self, live: LiveModel, engine: Engine) -> None:
        self._live = live
        self._engine = engine

    async def one(self, request: Request) -> Response:
        """Classify one input."""
        self._engine.admission.require_room()
        predictor, top_k, timings = self._live.predictor, _read_top_k(request), Timings()
        data = await read_one(request, predictor.kind)
        exchange = Exchange.of(request)
        exchange.timings = timings
        answer = await self._engine.predict(predictor, data, timings)
        exchange.answers = [answer]
        return _answer(_shorten([answer], top_k)[0], request, timings)

    async def many(self, request: Request) -> Response:
        """Classify many inputs: one result or one error an item, in order."""
        self._engine.admission.require_room()
        predictor, top_k, timings = self._live.predictor, _read_top_k(request), Timings()
        items = await read_many(request, predictor.kind)
        exchange = Exchange.of(request)
        exchange.timings = timings
        answers = await self._engine.predict_many(predictor, items, timings)
        exchange.answers = answers
        return _answer(BatchPredictions(predictions=_shorten(answers, top_k)), request, timings)


def _read_top_k(request: Request) -> int | None:
    """Return the number of probabilities that an answer should have; raises InputRefusedError."""
    values = request.query_params.getlist("top_k")
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(r"0*[1-9][0-9]{0,8}", values[0]):
        raise InputRefusedError("bad_top_k", "`top_k` must be one whole number from 1 up.")
    return int(values[0])


def _shorten(answers: Sequence[Prediction | ErrorBody], top_k: int | None) -> list[Prediction | ErrorBody]:
    if top_k is None:
        return [*answers]
    return [answer.top(top_k) if isinstance(answer, Prediction) else answer for answer in answers]


def _answer(body: Body, request: Request, timings: Timings) -> Response:
    headers = {"server-timing": timings.to_header(Exchange.of(request).seconds())}
    return BodyResponse(body, headers=headers)
