"""The methods of ``inference.GRPCInferenceService``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import Message

from serving.model.errors import InputRefusedError
from serving.model.timings import Timings
from serving.server.grpc.call import Call, Method
from serving.server.grpc.codec import decode_request, encode_answer, encode_model, encode_server
from serving.server.grpc.generated.open_inference_grpc_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerReadyResponse,
)
from serving.server.handlers.oip.inference import Inference, describe_model, describe_server

SERVICE: Final = "inference.GRPCInferenceService"


class InferenceService:
    """Answers calls of the protocol.

    Args:
        inference: What answers them, over HTTP too.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._server = describe_server()

    def methods(self) -> Iterator[Method]:
        """Return the table of methods."""
        path = f"/{SERVICE}"
        yield Method(f"{path}/ServerLive", "grpc_server_live", "probe", self.server_live)
        yield Method(f"{path}/ServerReady", "grpc_server_ready", "ready", self.server_ready)
        yield Method(f"{path}/ModelReady", "grpc_model_ready", "ready", self.model_ready)
        yield Method(f"{path}/ServerMetadata", "grpc_server", "about", self.server_metadata)
        yield Method(f"{path}/ModelMetadata", "grpc_model", "about", self.model_metadata)
        yield Method(f"{path}/ModelInfer", "grpc_infer", "model", self.infer)

    async def server_live(self, _: Call) -> Message:
        """Say that the process answers."""
        return ServerLiveResponse(live=True)

    async def server_ready(self, _: Call) -> Message:
        """Say whether requests are answered."""
        return ServerReadyResponse(ready=self._inference.live.is_ready)

    async def model_ready(self, call: Call) -> Message:
        """Say whether this model answers."""
        request = await call.read(ModelReadyRequest())
        if self._inference.live.is_ready:
            self._inference.find(request.name, request.version or None)
        return ModelReadyResponse(ready=self._inference.live.is_ready)

    async def server_metadata(self, _: Call) -> Message:
        """Say what the server is."""
        return encode_server(self._server)

    async def model_metadata(self, call: Call) -> Message:
        """Say what the model takes and gives."""
        request = await call.read(ModelMetadataRequest())
        predictor = self._inference.find(request.name, request.version or None)
        return encode_model(describe_model(predictor.manifest, predictor.kind, predictor.artifact.runtime))

    async def infer(self, call: Call) -> Message:
        """Classify the items of one tensor."""
        self._inference.require_room()
        message = await call.read(ModelInferRequest())
        predictor = self._inference.find(message.model_name, message.model_version or None)
        request, tensors = decode_request(message)
        call.exchange.timings = timings = Timings()
        answer = await self._inference.answer(predictor, request, tensors, timings)
        call.exchange.answers = answer.predictions
        return encode_answer(answer)


async def refuse_method(_: Call) -> Message:
    """Refuse a method that is not here; raises InputRefusedError."""
    text = f"There is no such method here. {SERVICE} has those of the Open Inference Protocol, version 2."
    raise InputRefusedError("unknown_method", text, status=501)
