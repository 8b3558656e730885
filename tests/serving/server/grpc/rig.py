"""A service that answers gRPC in this process, and a real client of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2

from serving.server.app.build import frame
from serving.server.app.components import Components, open_components
from serving.server.app.table import list_endpoints
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.generated import open_inference_grpc_pb2 as pb
from serving.server.handlers.oip.tensors import join
from serving.server.http.keys import Keys
from serving.server.settings import Settings
from tests.conftest import free_port, make_picture

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
PICTURE = make_picture("bars", 971)
ANSWERS = {
    **{name: getattr(pb, f"{name}Response") for name in ("ServerLive", "ServerReady", "ModelReady")},
    **{name: getattr(pb, f"{name}Response") for name in ("ServerMetadata", "ModelMetadata", "ModelInfer")},
}
# Every test opens a service of its own, on a port that another had before.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Rig:
    """A service, and a channel to it."""

    parts: Components
    app: Any
    channel: grpc.aio.Channel
    address: str
    end: Callable[[], Awaitable[None]]  # of the service, as at SIGTERM

    async def ask(self, name: str, request: Any = None, **options: Any) -> Any:
        """Call a method of the protocol, and return its answer."""
        call = self.channel.unary_unary(f"/{SERVICE}/{name}")
        raw = b"" if request is None else request.SerializeToString()
        return ANSWERS[name].FromString(await call(raw, **options))

    async def refusal(self, name: str, request: Any = None, **options: Any) -> tuple[str, str, str]:
        """Return the status, the code and the message of a refused call."""
        raw = b"" if request is None else request.SerializeToString()
        return await self.refusal_of(f"/{SERVICE}/{name}", raw, **options)

    async def refusal_of(self, path: str, raw: bytes, **options: Any) -> tuple[str, str, str]:
        try:
            await self.channel.unary_unary(path)(raw, **options)
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            return error.code().name, trailing.get("graft-code", ""), error.details() or ""
        raise AssertionError("it was not refused")

    async def check(self, service: str = "") -> str:
        """Return what a health check says."""
        raw = await self.channel.unary_unary(CHECK)(
            health_pb2.HealthCheckRequest(service=service).SerializeToString()
        )
        return health_pb2.HealthCheckResponse.ServingStatus.Name(
            health_pb2.HealthCheckResponse.FromString(raw).status
        )

    def count(self, route: str, status: int) -> int:
        """Return how many requests of a route and status were counted."""
        labels = f'{{route="{route}",status="{status}"}}'
        found = re.search(
            rf"^graft_requests_total{re.escape(labels)} (.*)$",
            self.parts.metrics.render().decode(),
            re.MULTILINE,
        )
        return int(float(found[1])) if found else 0

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of the same service over HTTP, in this process."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")

    def infer(self, items: Sequence[bytes] = (PICTURE,), **fields: Any) -> pb.ModelInferRequest:
        """Return a request for inference."""
        return infer(self.parts.live.predictor.manifest.name, items, **fields)


def infer(model: str, items: Sequence[bytes] = (PICTURE,), **fields: Any) -> pb.ModelInferRequest:
    """Return a request for inference of a model."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[len(items)])
    defaults = {"model_name": model, "inputs": [tensor], "raw_input_contents": [join(items)]}
    return pb.ModelInferRequest(**(defaults | fields))


@asynccontextmanager
async def calling(bundle: Path, *, keys: Sequence[str] = (), **settings: Any) -> AsyncIterator[Rig]:
    """Run a service in this event loop, with a channel to it."""
    port = free_port()
    parts = open_components(
        Settings(bundle=bundle, **({"watch_s": 0.05} | settings)),
        keys=Keys(keys),
        grpc=GrpcAddress("127.0.0.1", port, drain_s=5),
    )
    app = frame(parts, list_endpoints(parts))
    async with AsyncExitStack() as life:
        await life.enter_async_context(app.router.lifespan_context(app))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            yield Rig(parts, app, channel, f"127.0.0.1:{port}", life.aclose)
