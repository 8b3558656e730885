"""OpenTelemetry spans of requests.

They are made from the measured times after a request is answered, so that tracing does not slow it down.

Names follow OpenTelemetry's conventions (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). A
span holds no header, query or body of its request; ``traceparent`` is the only header that is read.
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
GRPC = "grpc"
NANOSECONDS = 1_000_000_000
MOST_PATH_CHARACTERS = 200
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
# Requested every few seconds for as long as a service runs: their spans would bury all others.
QUIET = frozenset({
    "/livez", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready",
    "/v2/models/{name}/ready", "/v2/models/{name}/versions/{version}/ready",
    "/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady", "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
})  # fmt: skip
CLOSE_S = 3.0  # longest wait for the last spans to be sent


class Traces:
    """Sends spans in a background thread.

    Spans that cannot be delivered are dropped; no request waits for them or fails because of them.
    """

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("graft")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self,
        scope: Mapping[str, Any],
        route: str | None,
        status: int,
        code: str | None,
        seconds: float,
        timings: Timings | None,
    ) -> str | None:
        """Record a request that has just been answered.

        Args:
            scope: The ASGI connection scope.
            route: Template of the route's path, such as ``/v2/models/{name}``; None where no route matches.
            status: HTTP status code of the response.
            code: Error code of the refusal, or None where the request was not refused.
            seconds: Time that the request took, in seconds.
            timings: Time that each of its stages took, or None where no input was processed.

        Returns:
            Id of the trace that the request belongs to, sampled or not, as 32 hexadecimal digits. None for
            the probes and metrics of ``QUIET``, which are not traced.
        """
        if route in QUIET:
            return None
        end = time.time_ns()
        start = end - int(seconds * NANOSECONDS)
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        if scope.get("type") == GRPC:
            name, attributes = (route or GRPC).lstrip("/"), _describe_call(scope, route, status, code)
        else:
            name = f"{'HTTP' if method == '_OTHER' else method} {route or ''}".rstrip()
            attributes = _describe(scope, method, route, status, code)
        parent = self._parent(scope)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=start)
        if span.is_recording():
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            if timings:
                self._divide(span, timings, start, end)
        span.end(end)
        return f"{span.get_span_context().trace_id:032x}"

    def _parent(self, scope: Mapping[str, Any]) -> Context:
        """Return a context with the caller's span; it is empty without one valid ``traceparent``."""
        values = [value for name, value in scope["headers"] if name == b"traceparent"]
        if len(values) != 1:
            return Context()
        return self._propagator.extract({"traceparent": values[0].decode("latin-1")}, Context())

    def _divide(self, parent: Span, timings: Timings, start: int, end: int) -> None:
        """Add a child span for each measured stage, one after the other up to the end of the request.

        The times of a batch are sums over its items, some of which are processed at the same time: where they
        exceed the request's time, the spans are scaled down to fit. ``graft.seconds`` holds the sum itself.

        Args:
            parent: Span of the request.
            timings: Time that each stage took, in seconds.
            start: Start of the request, in nanoseconds since 1970.
            end: End of the request, in nanoseconds since 1970.
        """
        stages = {"queue": timings.queue_s, "decode": timings.decode_s, "session": timings.session_s}
        total = sum(stages.values()) * NANOSECONDS
        scale = min(1.0, (end - start) / total) if total else 1.0
        context, moment = set_span_in_context(parent, Context()), end - int(total * scale)
        for name, seconds in stages.items():
            if not seconds:
                continue
            attributes: dict[str, int | float] = {"graft.seconds": seconds}
            if name == "session":
                attributes["graft.batch_size"] = timings.batch_size
            child = self._tracer.start_span(name, context, attributes=attributes, start_time=moment)
            moment = min(end, moment + int(seconds * scale * NANOSECONDS))
            child.end(moment)

    def close(self) -> None:
        """Send the remaining spans, and give up after ``CLOSE_S`` seconds."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)  # `shutdown` itself may take half a minute
        if closing.is_alive():
            log.warning("traces: the last spans were not taken within %g s", CLOSE_S)


def _describe(
    scope: Mapping[str, Any], method: str, route: str | None, status: int, code: str | None
) -> dict[str, str | int]:
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


def _describe_call(
    scope: Mapping[str, Any], route: str | None, status: int, code: str | None
) -> dict[str, str | int]:
    """Return the attributes of a gRPC call (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/)."""
    attributes: dict[str, str | int] = {"rpc.system": GRPC, "rpc.grpc.status_code": scope["grpc_status"]}
    if route:
        attributes["rpc.service"], attributes["rpc.method"] = route.strip("/").split("/")
    if scope.get("client"):
        attributes["client.address"] = scope["client"][0]
    if code:
        attributes["graft.code"] = code
    if status >= 500:
        attributes["error.type"] = code or str(status)
    return attributes


def _resource() -> Resource:
    """Return the description of the sender of spans; ``graft`` unless the environment names the service."""
    is_named = "service.name" in OTELResourceDetector().detect().attributes
    return Resource.create({} if is_named else {"service.name": SERVICE})
