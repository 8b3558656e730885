"""The whole service as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect

from serving.model.errors import InputRefusedError, ServingError
from serving.model.runtimes.cpu import cpu_limit
from serving.server.engine.admission import Admission
from serving.server.engine.batching import Batcher
from serving.server.engine.engine import Engine
from serving.server.engine.live import LiveModel
from serving.server.http.about import AboutHandlers
from serving.server.http.asgi import App, Receive, Scope, Send
from serving.server.http.bodies import BodyLimits, Buffered, LimitedBody
from serving.server.http.exchange import Exchange
from serving.server.http.guard import Guard
from serving.server.http.inference import InferenceHandlers
from serving.server.http.predict import PredictHandlers
from serving.server.http.replies import Reply, refusal_reply
from serving.server.http.routes import Route, Routes
from serving.server.keys import open_keys
from serving.server.observing.logs import flush_logs, log_request, logs_requests
from serving.server.observing.metrics import Metrics
from serving.server.observing.traces import open_traces
from serving.server.settings import Settings

log = logging.getLogger("graft")
MAX_BODY_BYTES = {"image": 64 * 1024 * 1024, "text": 8 * 1024 * 1024}
QUEUE_PER_CPU = 16
CLIENT_LEFT = 499  # nginx's; nobody receives it, but logs and metrics do
# What only BentoML's own client asks BentoML for.
PASSED_ON = frozenset({"/schema.json"})


class GraftApp:
    """Answers every request, watches the bundle and the keys.

    Args:
        settings: How it is set up.
        modality: Serve bundles of this kind of input only; by default of the first's.
        inner: An application around which it is put: it also gets the start, the end, and the paths that are its own.
    """

    def __init__(self, settings: Settings, *, modality: str | None = None, inner: App | None = None) -> None:
        self._settings = settings
        self._inner = inner
        self._keys = open_keys(settings.api_keys_file)
        self._live = LiveModel(settings.bundle, artifact=settings.artifact, fallback=settings.fallback, modality=modality)
        cpus = cpu_limit()
        queue = QUEUE_PER_CPU * cpus if settings.max_queue is None else settings.max_queue
        self._engine = Engine(Admission(cpus, queue, settings.deadline_s), Batcher())
        self._metrics = Metrics(lambda: self._engine.admission.waiting)
        self._traces = open_traces() if settings.trace else None
        self._guard = Guard(
            self._keys,
            protect_all=settings.protect_all,
            allow_anonymous=settings.allow_anonymous,
            require_model=lambda: self._live.predictor,
        )
        self._routes = Routes(self._list_routes())
        self._buffered = Buffered()
        self._watches: list[asyncio.Task[None]] = []

    def _list_routes(self) -> Sequence[Route]:
        predict, about = PredictHandlers(self._live, self._engine, self._metrics), AboutHandlers(self._live, self._metrics)
        inference = InferenceHandlers(self._live, self._engine, self._metrics)
        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return (
            Route("predict", "POST", "/predict", predict.one),
            Route("predict_batch", "POST", "/predict_batch", predict.many),
            Route("page", "GET", "/", about.page, "page"),
            Route("live", "GET", "/livez", about.alive, "probe"),
            Route("live", "GET", "/healthz", about.alive, "probe"),
            Route("ready", "GET", "/readyz", about.ready, "probe"),
            Route("metrics", "GET", "/metrics", about.metrics, "about"),
            Route("docs", "GET", "/docs.json", about.docs, "about"),
            Route("live", "GET", "/v2/health/live", about.alive, "probe"),
            Route("ready", "GET", "/v2/health/ready", inference.ready, "probe"),
            Route("v2_server", "GET", "/v2", inference.server, "about"),
            *(Route("v2_model", "GET", path, inference.model, "about") for path in (model, version)),
            *(Route("v2_model_ready", "GET", f"{path}/ready", inference.model_ready, "probe") for path in (model, version)),
            *(Route("v2_infer", "POST", f"{path}/infer", inference.infer) for path in (model, version)),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live_on(scope, receive, send)
        elif scope["type"] == "http" and not (self._inner and scope["path"] in PASSED_ON):
            await self._answer(Exchange.begin(scope, receive), send)
        elif self._inner:
            await self._inner(scope, receive, send)

    async def start(self) -> None:
        """Load the model, and watch its folder from then on. A refusal does not end the service: it says why at /readyz."""
        await self._refresh()
        self._watches = [asyncio.create_task(self._keep_watch(look)) for look in (self._refresh, self._refresh_keys)]

    async def stop(self) -> None:
        """Let what runs come to its end."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await asyncio.to_thread(self._engine.close)
        if self._traces:
            await asyncio.to_thread(self._traces.close)
        await asyncio.to_thread(flush_logs)

    async def _live_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's lifespan. An application inside has its own, whose messages are the server's then."""
        await self.start()
        try:
            if self._inner:
                await self._inner(scope, receive, send)
                return
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_watch(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._settings.watch_s)
            try:
                await look()
            except Exception:  # it must go on watching
                log.exception("a watch failed")

    async def _refresh_keys(self) -> None:
        await asyncio.to_thread(self._keys.refresh)

    async def _refresh(self) -> None:
        is_swap = self._live.is_ready
        taken = await asyncio.to_thread(self._live.refresh)
        if taken is None:
            return
        if is_swap:
            self._metrics.count_swap(taken=taken)
        if taken:
            self._metrics.show_model(self._live.predictor.info)

    async def _answer(self, exchange: Exchange, send: Send) -> None:
        body = LimitedBody(exchange.scope, exchange.receive, self._body_limits(), self._buffered)
        exchange.receive = body
        try:
            route = self._routes.find(exchange)
            self._guard.check(exchange, route)
            body.require_size()
            reply = await route.answer(exchange)
        except ServingError as error:
            reply = refusal_reply(error, exchange.scope["path"])
        except ClientDisconnect:
            reply = Reply(b"", CLIENT_LEFT, code="disconnected")
        except Exception:  # a fault of ours: it is told apart from the client's, and its reason stays here
            log.exception("request %s failed", exchange.id)
            failure = InputRefusedError("internal", "The service failed; its log says why, by this request's id.", status=500)
            reply = refusal_reply(failure, exchange.scope["path"])
        try:
            if reply.status != CLIENT_LEFT:
                await body.read_away()
                await reply.send(send, _further_headers(exchange, body))
        finally:
            self._note(exchange, reply, body)

    def _body_limits(self) -> BodyLimits:
        modality = self._live.predictor.manifest.input.modality if self._live.is_ready else "text"
        most = self._settings.max_body_bytes or MAX_BODY_BYTES[modality]
        return BodyLimits(most, self._settings.body_timeout_s, self._settings.max_buffered_bytes)

    def _note(self, exchange: Exchange, reply: Reply, body: LimitedBody) -> None:
        seconds, bytes_in = exchange.seconds(), body.bytes
        body.close()
        self._metrics.count_request(exchange.route, reply.status, seconds)
        if reply.code:
            self._metrics.count_refusal(reply.code)
        trace_id = None
        if self._traces:
            trace_id = self._traces.record(exchange.scope, exchange.template, reply.status, reply.code, seconds, exchange.timings)
        if logs_requests():
            log_request(exchange.to_log(reply.status, seconds, bytes_in, len(reply.body), reply.code), trace_id)


def _further_headers(exchange: Exchange, body: LimitedBody) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", exchange.id.encode())]
    if not body.is_complete:
        headers.append((b"connection", b"close"))  # what was not read must not be taken for the next request
    return headers
