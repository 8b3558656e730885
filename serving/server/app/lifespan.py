"""The life of a service, from its start to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from serving.server.app.components import Components
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.extra import require_grpc
from serving.server.handlers.oip.inference import Inference
from serving.server.http.access import Guard
from serving.server.http.observe import Notes


def make_lifespan(
    parts: Components, guard: Guard, notes: Notes
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Return the lifespan that Starlette asks for: that of the parts, and gRPC within it where it is on.

    Args:
        parts: Parts of the service.
        guard: Decides who is answered.
        notes: Takes note of calls.
    """

    @asynccontextmanager
    async def live(_: object) -> AsyncIterator[None]:
        async with parts.running():
            if parts.grpc is None:
                yield
                return
            async with _answering_grpc(parts, guard, notes, parts.grpc):
                yield

    return live


def _answering_grpc(
    parts: Components, guard: Guard, notes: Notes, address: GrpcAddress
) -> AbstractAsyncContextManager[None]:
    require_grpc()
    from serving.server.grpc.call import Intake
    from serving.server.grpc.frame import Frame
    from serving.server.grpc.health import HealthService
    from serving.server.grpc.server import answering
    from serving.server.grpc.service import InferenceService

    inference = Inference(parts.live, parts.engine)
    service, health = InferenceService(inference), HealthService(inference, parts.settings.watch_s)
    intake = Intake(parts.body_limits, parts.buffered)
    frame = Frame([*service.methods(), *health.methods()], guard, intake, notes, address)
    limits = parts.body_limits()
    # gRPC's own limit is set once. Without a model it is unknown what its kind will allow.
    most_bytes = limits.max_bytes if parts.live.is_ready else limits.max_buffered_bytes
    return answering(address, frame, health, most_bytes)
