"""The methods of ``grpc.health.v1.Health``, which Kubernetes and balancers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from serving.model.errors import InputRefusedError
from serving.server.grpc.call import Call, Method
from serving.server.grpc.service import SERVICE
from serving.server.handlers.oip.inference import Inference
from serving.server.http.bodies import shown

HEALTH: Final = "grpc.health.v1.Health"


class HealthService:
    """Says whether calls are answered: of the server, whose name is empty, of the protocol, and of the model.

    Args:
        inference: What answers calls.
        watch_s: Time between two looks for those who watch, in seconds.

    Attributes:
        is_draining: Set once the server takes no more calls.
    """

    def __init__(self, inference: Inference, watch_s: float) -> None:
        self.is_draining = asyncio.Event()
        self._live = inference.live
        self._watch_s = watch_s

    def methods(self) -> Iterator[Method]:
        """Return the table of methods."""
        yield Method(f"/{HEALTH}/Check", "grpc_health", "ready", self.check)
        yield Method(f"/{HEALTH}/Watch", "grpc_health_watch", "ready", self.watch, is_stream=True)

    async def check(self, call: Call) -> Message:
        """Say how a service is; raises InputRefusedError where it is unknown."""
        request = await call.read(HealthCheckRequest())
        status = self._find_status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            text = f"There is no service `{shown(request.service)}` here, but `{SERVICE}`."
            raise InputRefusedError("unknown_service", text, status=404)
        return HealthCheckResponse(status=status)

    async def watch(self, call: Call) -> None:
        """Say how a service is, and again whenever that changes, until the server ends."""
        request = await call.read(HealthCheckRequest())
        said = None
        while True:
            is_last = self.is_draining.is_set()
            status = self._find_status(request.service)
            if status != said:
                await call.write(HealthCheckResponse(status=status))
                said = status
            if is_last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self.is_draining.wait(), self._watch_s)

    def _find_status(self, service: str) -> HealthCheckResponse.ServingStatus:
        is_ready = self._live.is_ready
        names = {"", SERVICE} | ({self._live.predictor.manifest.name} if is_ready else set())
        if service not in names:
            return HealthCheckResponse.SERVICE_UNKNOWN
        is_serving = is_ready and not self.is_draining.is_set()
        return HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
