"""A request's spans, made from what was measured once it is answered, so that its way itself costs nothing more.

Names follow OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). No header's value, no query and no
body is in a span: of a request's headers ``traceparent`` alone is read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.model.timings import Timings

log = logging.getLogger("graft")
SERVICE = "graft"
NANOSECONDS = 1_000_000_000
MOST_PATH_CHARACTERS = 200
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
# Asked every few seconds, for as long as a service lives: they would bury what people look for.
QUIET = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
CLOSE_S = 3.0  # for the last spans, when nobody takes them


class Traces:
    """Sends spans in a thread of its own. When nobody takes them they are dropped; no request waits for them or fails."""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("graft")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, scope: Mapping[str, Any], route: str | None, status: int, code: str | None, seconds: float, timings: Timings | None
    ) -> str | None:
        """Record one request that has just been answered.

        Args:
            scope: ASGI's.
            route: Its path's template, or None where there is nothing.
            status: Of the answer.
            code: Of the refusal that it was.
            seconds: What it took.
            timings: Where they went.

        Returns:
            The id of the trace that it belongs to, whether it was sampled or not; None for probes, which are left out.
        """
        if route in QUIET:
            return None
        end = time.time_ns()
        start = end - int(seconds * NANOSECONDS)
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        name = f"{'HTTP' if method == '_OTHER' else method} {route or ''}".rstrip()
        attributes = _describe(scope, method, route, status, code)
        span = self._tracer.start_span(name, self._parent(scope), SpanKind.SERVER, attributes, start_time=start)
        if span.is_recording():
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            if timings:
                self._divide(span, timings, start, end)
        span.end(end)
        return f"{span.get_span_context().trace_id:032x}"

    def _parent(self, scope: Mapping[str, Any]) -> Context:
        """The caller's span, or none; what is not W3C's form counts as none."""
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        return self._propagator.extract({"traceparent": given[0].decode("latin-1")}, Context()) if len(given) == 1 else Context()

    def _divide(self, parent: Span, timings: Timings, start: int, end: int) -> None:
        """Children for what was measured, one after the other up to the answer.

        Those of a batch are sums over items, some of which ran at the same time: they are drawn to scale where they would not fit.
        """
        parts = {"queue": timings.queue_s, "decode": timings.decode_s, "session": timings.session_s}
        total = sum(parts.values()) * NANOSECONDS
        scale = min(1.0, (end - start) / total) if total else 1.0
        context, moment = set_span_in_context(parent, Context()), end - int(total * scale)
        for name, seconds in parts.items():
            if not seconds:
                continue
            attributes: dict[str, int | float] = {"graft.seconds": seconds}
            if name == "session":
                attributes["graft.batch_size"] = timings.batch_size
            child = self._tracer.start_span(name, context, attributes=attributes, start_time=moment)
            moment = min(end, moment + int(seconds * scale * NANOSECONDS))
            child.end(moment)

    def close(self) -> None:
        """Send what is left, and give up after a while."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)  # `shutdown` itself waits for half a minute
        if closing.is_alive():
            log.warning("traces: the last spans were not taken within %g s", CLOSE_S)


def _describe(scope: Mapping[str, Any], method: str, route: str | None, status: int, code: str | None) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scope.get("scheme", "http"),
        "url.path": scope["path"][:MOST_PATH_CHARACTERS],
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if route:
        attributes["http.route"] = route
    if scope.get("client"):
        attributes["client.address"] = scope["client"][0]
    if code:
        attributes["graft.code"] = code
    if status >= 500:
        attributes["error.type"] = code or str(status)
    return attributes


def _resource() -> Resource:
    """What sends the spans: as the environment names it."""
    named = "service.name" in OTELResourceDetector().detect().attributes
    return Resource.create({} if named else {"service.name": SERVICE})
