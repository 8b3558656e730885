"""What is noted of every request: metrics, a line of the log, a trace, and an id that its client gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.http.exchange import Exchange
from serving.server.http.limits import LimitedBody
from serving.server.http.origins import PREFLIGHT_REFUSED
from serving.server.http.refusals import CLIENT_LEFT
from serving.server.observing.logs import log_request, logs_requests
from serving.server.observing.metrics import Metrics

if TYPE_CHECKING:
    from serving.server.observing.spans import Traces

MOST_LOGGED_CHARACTERS: Final = 200
CANCELLED: Final = "cancelled"
GRPC_STATUS: Final = "grpc_status"  # its number, in the scope of a call


@dataclass(frozen=True)
class Notes:
    """Takes note of requests, whichever way they came.

    Attributes:
        metrics: Where requests are counted.
        traces: Where spans are recorded, or None where requests are not traced.
    """

    metrics: Metrics
    traces: Traces | None

    def take(self, scope: Scope, route: str, template: str | None, bytes_in: int) -> None:
        """Note a request that was answered, or given up.

        Args:
            scope: Its scope, in which its exchange is kept.
            route: Name of its route, from a closed set.
            template: Template of the route's path; None where there is no route.
            bytes_in: Number of bytes of its body that have arrived.
        """
        exchange = Exchange.of(scope)
        seconds = exchange.seconds()
        self.metrics.count_request(route, exchange.status, seconds)
        if exchange.code:
            self.metrics.count_refusal(exchange.code)
        if exchange.answers and exchange.timings:
            self.metrics.count_predictions(exchange.answers, exchange.timings)
        trace_id = None
        if self.traces:
            status, code, timings = exchange.status, exchange.code, exchange.timings
            trace_id = self.traces.record(scope, template, status, code, seconds, timings)
        if logs_requests():
            log_request(_describe(scope, exchange, route, seconds, bytes_in), trace_id)


class ObservingMiddleware:
    """Notes every request once it is answered, or given up by what runs the application.

    A server that ends, or a time limit around the application such as BentoML's, cancels requests that have
    no answer yet; whatever their clients then get does not come from here.

    Args:
        app: The application inside.
        notes: Takes note of requests.
    """

    def __init__(self, app: ASGIApp, notes: Notes) -> None:
        self._app = app
        self._notes = notes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange.begin(scope)

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.id.encode())]
            else:
                exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if not exchange.status:
                exchange.status, exchange.code = CLIENT_LEFT, CANCELLED
            raise
        finally:
            if exchange.status:
                name, template = _name_route(scope, exchange)
                self._notes.take(scope, name, template, LimitedBody.of(scope).arrived)


def _name_route(scope: Scope, exchange: Exchange) -> tuple[str, str | None]:
    """Return the name of a request's route and the template of its path, None where there is none."""
    route = scope.get("route")
    if isinstance(route, Route):
        return route.name, route.path
    # A preflight is answered before a route is looked for; whatever else has no route has another code.
    is_preflight = scope["method"] == "OPTIONS" and exchange.code in {None, PREFLIGHT_REFUSED}
    return "preflight" if is_preflight else "none", None


def _describe(scope: Scope, exchange: Exchange, route: str, seconds: float, bytes_in: int) -> dict[str, Any]:
    """Return the fields of a request's line in the log."""
    client = scope.get("client")
    fields: dict[str, Any] = {
        "request_id": exchange.id,
        "method": scope["method"],
        "path": scope["path"][:MOST_LOGGED_CHARACTERS],
        "route": route,
        "status": exchange.status,
        "duration_ms": round(1000 * seconds, 3),
        "bytes_in": bytes_in,
        "bytes_out": exchange.bytes_out,
        "client": client[0] if client else None,
    }
    if GRPC_STATUS in scope:
        fields[GRPC_STATUS] = scope[GRPC_STATUS]
    if exchange.code:
        fields["code"] = exchange.code
    if exchange.timings:
        fields |= exchange.timings.to_log()
    return fields
