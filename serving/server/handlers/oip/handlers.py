"""Handlers of the protocol's routes, below ``/v2``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.model.predictor import Predictor
from serving.model.timings import Timings
from serving.server.handlers.oip.codec import HEADER_LENGTH, decode_request, encode_response
from serving.server.handlers.oip.inference import Inference, describe_model, describe_server
from serving.server.handlers.oip.messages import ModelReady, ServerReady
from serving.server.http.exchange import Exchange
from serving.server.http.refusals import JSON, BodyResponse


class InferenceHandlers:
    """Answers requests of the protocol over HTTP.

    Args:
        inference: What answers them, over gRPC too.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._server = describe_server()

    async def server(self, _: Request) -> Response:
        """Say what the server is."""
        return BodyResponse(self._server)

    async def ready(self, _: Request) -> Response:
        """Say that requests are answered; why they are not is the error that the model raises."""
        self._inference.live.require_ready()
        return BodyResponse(ServerReady())

    async def model(self, request: Request) -> Response:
        """Say what the model takes and gives."""
        predictor = self._find(request)
        return BodyResponse(describe_model(predictor.manifest, predictor.kind, predictor.artifact.runtime))

    async def model_ready(self, request: Request) -> Response:
        """Say that this model answers."""
        return BodyResponse(ModelReady(name=self._find(request).manifest.name))

    async def infer(self, request: Request) -> Response:
        """Classify the items of one tensor."""
        predictor = self._find(request)
        self._inference.require_room()
        message, tensors = decode_request(await request.body(), request.headers.get(HEADER_LENGTH))
        exchange = Exchange.of(request)
        exchange.timings = timings = Timings()
        answer = await self._inference.answer(predictor, message, tensors, timings)
        exchange.answers = answer.predictions
        body, header_length = encode_response(answer.response, answer.outputs)
        headers = {"server-timing": timings.to_header(exchange.seconds())}
        if header_length is None:
            return Response(body, headers=headers, media_type=JSON)
        headers[HEADER_LENGTH] = str(header_length)
        return Response(body, headers=headers, media_type="application/octet-stream")

    def _find(self, request: Request) -> Predictor:
        """Return the model that a path names; raises InputRefusedError where another one answers."""
        return self._inference.find(request.path_params["name"], request.path_params.get("version"))
