"""Traces of a real service, as a collector receives them."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serving.model.errors import SettingsError
from serving.model.timings import Timings
from serving.server.observing.spans import CLOSE_S
from serving.server.observing.traces import open_traces, require_tracing
from tests.conftest import make_picture, run_graft
from tests.serving.processes import Service, logged_service

KEY = "TheKeyThatNoSpanMayEverShow0123456789"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, INTERNAL = 2, 1
NANOSECONDS = 1_000_000_000


@dataclass
class Collector:
    """What a collector was sent."""

    url: str
    bodies: list[bytes] = field(default_factory=list)

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests()
            for of in request.resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector of OTLP over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.bodies.append(
                gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield collector
    server.shutdown()
    server.server_close()


@dataclass
class Told:
    """A request that a traced service was sent, and all that was told of it."""

    answer: httpx.Response
    began: int
    ended: int
    line: dict[str, Any]
    root: Any
    children: list[Any]

    @property
    def attributes(self) -> dict[str, Any]:
        return attributes(self.root)


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def asked(service: Service) -> dict[str, tuple[httpx.Response, int, int]]:
    picture, key = make_picture("bars", 940), {"authorization": f"Bearer {KEY}"}
    wanted: dict[str, tuple[str, str, dict[str, Any]]] = {
        "continued": (
            "POST",
            "/predict",
            {"content": picture, "headers": {"traceparent": f"00-{TRACE}-{PARENT}-01"}},
        ),
        "unsampled": (
            "POST",
            "/predict",
            {"content": picture, "headers": {"traceparent": f"00-{TRACE[::-1]}-{PARENT}-00"}},
        ),
        "own": (
            "POST",
            f"/predict?key={KEY}",
            {"content": picture, "headers": key | {"traceparent": KEY, "tracestate": KEY}},
        ),
        "batch": ("POST", "/predict_batch", {"files": [("images", (KEY, picture))] * 12}),
        "refused": (
            "POST",
            "/predict",
            {"content": KEY.encode(), "headers": {"x-api-key": KEY, "x-request-id": KEY}},
        ),
        "unknown": ("GET", f"/nowhere/{300 * 'x'}", {"headers": {"user-agent": KEY}}),
        "probe": ("GET", "/livez", {"headers": {"traceparent": f"00-{TRACE}-{PARENT}-01"}}),
        "model's probe": (
            "GET",
            "/v2/models/tiny/ready",
            {"headers": {"traceparent": f"00-{TRACE}-{PARENT}-01"}},
        ),
    }
    done = {}
    for name, (method, path, options) in wanted.items():
        began = time.time_ns()
        answer = httpx.request(method, service.url + path, **options)
        done[name] = (answer, began, time.time_ns())
    return done


@pytest.fixture(scope="module")
def traced(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Told], Collector]:
    """Requests and what came of them.

    Spans are sent at the service's end, since there are too few of them before.
    """
    log = tmp_path_factory.mktemp("traces") / "log"
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    with collecting() as collector:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        with logged_service(tiny_run / "bundle", log, "--trace", **environment) as service:
            done = asked(service)
            assert not collector.bodies
            service.stop()
    lines = {line["request_id"]: line for line in service.requests()}
    spans = {span.span_id: span for span in collector.spans()}
    told = {}
    for name, (answer, began, ended) in done.items():
        line = lines[answer.headers["x-request-id"]]
        roots = [
            span
            for span in spans.values()
            if span.trace_id.hex() == line.get("trace_id") and span.kind == SERVER
        ]
        root = roots[0] if roots else None
        children = [span for span in spans.values() if root and span.parent_span_id == root.span_id]
        told[name] = Told(answer, began, ended, line, root, children)
    return told, collector


@pytest.mark.slow
def test_trace_of_a_caller_goes_on_with_a_span_and_a_child_for_each_part(
    traced: tuple[dict[str, Told], Collector],
) -> None:
    told = traced[0]["continued"]
    assert told.answer.status_code == 200
    assert told.line["trace_id"] == told.root.trace_id.hex() == TRACE
    assert told.root.parent_span_id.hex() == PARENT
    assert (told.root.name, told.root.kind) == ("POST /predict", SERVER)
    assert told.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/predict",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
    }
    assert [child.name for child in told.children] == ["queue", "decode", "session"]
    assert {child.trace_id.hex() for child in told.children} == {TRACE}
    assert {child.kind for child in told.children} == {INTERNAL}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["continued", "own", "batch"])
def test_times_lie_within_the_request_and_children_follow_each_other(
    traced: tuple[dict[str, Told], Collector], name: str
) -> None:
    told = traced[0][name]
    moments = [told.began, told.root.start_time_unix_nano]
    for child in told.children:
        moments += [child.start_time_unix_nano, child.end_time_unix_nano]
    moments.append(told.root.end_time_unix_nano)
    assert moments == sorted(moments)
    assert (
        told.root.end_time_unix_nano < told.ended + NANOSECONDS // 10
    )  # the client has its answer before the service notes it
    measured = [told.line[f"{part}_ms"] / 1000 for part in ("queue", "decode", "session")]
    assert [attributes(child)["graft.seconds"] for child in told.children] == pytest.approx(
        measured, abs=1e-6
    )
    if name != "batch":  # whose items run at the same time
        took = [
            (child.end_time_unix_nano - child.start_time_unix_nano) / NANOSECONDS for child in told.children
        ]
        assert took == pytest.approx(measured, abs=1e-5)


@pytest.mark.slow
def test_trace_is_a_new_one_when_the_caller_has_none_or_a_broken_one(
    traced: tuple[dict[str, Told], Collector],
) -> None:
    told, _ = traced
    assert told["own"].root.parent_span_id == told["batch"].root.parent_span_id == b""
    traces = {told[name].line["trace_id"] for name in ("continued", "own", "batch", "refused", "unknown")}
    assert len(traces) == 5


@pytest.mark.slow
def test_unsampled_trace_and_probe_send_no_span(traced: tuple[dict[str, Told], Collector]) -> None:
    told, _ = traced
    assert told["unsampled"].root is None
    assert told["unsampled"].line["trace_id"] == TRACE[::-1]
    for probe in ("probe", "model's probe"):
        assert told[probe].root is None
        assert "trace_id" not in told[probe].line


@pytest.mark.slow
def test_refusals_have_their_code_and_only_the_parts_that_ran(
    traced: tuple[dict[str, Told], Collector],
) -> None:
    refused, unknown = traced[0]["refused"], traced[0]["unknown"]
    assert (refused.attributes["http.response.status_code"], refused.attributes["graft.code"]) == (
        400,
        "not_an_image",
    )
    assert [child.name for child in refused.children] == ["queue", "decode"]
    assert refused.root.status.code == 0
    assert (unknown.root.name, unknown.attributes["http.response.status_code"]) == ("GET", 404)
    assert unknown.attributes["url.path"] == f"/nowhere/{300 * 'x'}"[:200]
    assert "http.route" not in unknown.attributes
    assert not unknown.children


@pytest.mark.slow
def test_spans_hold_no_header_no_query_and_no_body(traced: tuple[dict[str, Told], Collector]) -> None:
    _, collector = traced
    assert len(collector.spans()) == 5 + 3 * 3 + 2
    assert not any(KEY.encode() in body for body in collector.bodies)


@pytest.mark.slow
def test_spans_come_from_the_service_by_its_name(traced: tuple[dict[str, Told], Collector]) -> None:
    (resource,) = {
        of.resource.SerializeToString() for request in traced[1].requests() for of in request.resource_spans
    }
    assert b"service.name" in resource
    assert b"graft" in resource


@pytest.mark.slow
def test_requests_are_answered_and_the_service_ends_when_its_collector_hangs(
    tiny_run: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with logged_service(tiny_run / "bundle", tmp_path / "log", "--trace", **environment) as service:
            for _ in range(3):
                assert (
                    httpx.post(f"{service.url}/predict", content=make_picture("bars", 941)).status_code == 200
                )
                time.sleep(0.1)
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < CLOSE_S + 4
    assert any("the last spans were not taken" in line["message"] for line in service.lines())


def test_traces_fail_nobody_when_there_is_no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    monkeypatch.setattr("serving.server.observing.spans.CLOSE_S", 0.2)
    traces, began = open_traces(), time.monotonic()
    scope = {"method": "GET", "path": "/docs.json", "headers": []}
    found = {traces.record(scope, "/docs.json", 200, None, 0.01, None) for _ in range(50)}
    traces.close()
    assert len(found) == 50
    assert time.monotonic() - began < 2


@pytest.mark.slow
def test_command_says_what_to_install_or_to_change_when_it_cannot_trace(
    tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.exporter'] = None\n")
    missing = run_graft("serve", tiny_run, "--trace", env={"PYTHONPATH": str(tmp_path)}, check=1)
    assert "pip install 'graft-ml[tracing]'" in missing.stderr
    assert "Traceback" not in missing.stderr
    wrong = run_graft("serve", tiny_run, "--trace", env={"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, check=1)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in wrong.stderr


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp,none"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_SDK_DISABLED": "1"}, "OTEL_TRACES_EXPORTER"),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_TRACES_EXPORTER": "otlp",
            },
            None,
        ),
    ],
)
def test_require_tracing_refuses_what_is_not_known_here(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if named is None:
        require_tracing()
    else:
        with pytest.raises(SettingsError, match=f"^{named} is "):
            require_tracing()


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {
            "OTEL_SDK_DISABLED": "TRUE",
            "OTEL_TRACES_EXPORTER": "zipkin",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        },
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": " None ", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_traces_are_off_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(
        sys.modules, "serving.server.observing.spans", None
    )  # as where OpenTelemetry is not installed
    require_tracing()
    assert open_traces() is None


@pytest.mark.parametrize("value", ["false", "1", "yes", ""])
def test_traces_are_on_whatever_else_the_variable_says(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    traces = open_traces()
    assert traces is not None
    traces.close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_service_starts_and_sends_nothing_when_traces_are_off(
    tiny_run: Path, tmp_path: Path, name: str, value: str
) -> None:
    with collecting() as collector:
        environment = {
            "GRAFT_TRACE": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            name: value,
        }
        with logged_service(tiny_run / "bundle", tmp_path / "log", **environment) as service:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            assert (
                httpx.post(
                    f"{service.url}/predict", content=make_picture("bars", 942), headers=headers
                ).status_code
                == 200
            )
            service.stop()
        assert not collector.bodies
    (line,) = service.requests()
    assert "trace_id" not in line


def test_traces_fit_times_into_the_request_when_they_are_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
    traces, kept = open_traces(), InMemorySpanExporter()
    traces._provider._active_span_processor._span_processors = (SimpleSpanProcessor(kept),)
    scope = {"method": "BREW", "path": "/predict_batch", "headers": []}
    traces.record(
        scope,
        "/predict_batch",
        503,
        "overloaded",
        1.0,
        Timings(queue_s=1.0, decode_s=0.0, session_s=3.0, batch_size=4),
    )
    traces.close()
    queue, session, root = kept.get_finished_spans()
    start, end = root.start_time, root.end_time
    assert [queue.start_time, queue.end_time, session.end_time] == pytest.approx(
        [start, start + 250_000_000, end], abs=1000
    )
    assert session.attributes == {"graft.seconds": 3.0, "graft.batch_size": 4}
    assert root.name == "HTTP /predict_batch"
    assert (root.attributes["http.request.method"], root.attributes["error.type"]) == ("_OTHER", "overloaded")
    assert root.status.status_code.name == "ERROR"
    assert root.resource.attributes["service.name"] == "named"


def test_service_imports_nothing_of_opentelemetry_when_it_does_not_trace() -> None:
    script = """
import json, sys
from serving.server.app.build import make_app
from serving.server.settings import read_settings
make_app(read_settings({"bundle": "nowhere"}, {}))
print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry")]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []
