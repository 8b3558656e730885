"""What a service logs, and what never."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.model.errors import SettingsError
from serving.server.observing.logs import JsonLines, configure_logging, log_request, logs_requests
from serving.server.settings import read_settings
from tests.conftest import make_picture
from tests.serving.processes import Service, logged_service

KEY = "TheKeyThatNoLogMayEverShow0123456789"
FIELDS = {
    "time",
    "level",
    "logger",
    "message",
    "request_id",
    "method",
    "path",
    "route",
    "status",
    "duration_ms",
    "bytes_in",
    "bytes_out",
    "client",
}
TIMES = {"queue_ms", "decode_ms", "session_ms"}


@pytest.fixture(scope="module")
def service(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("logs") / "log"
    with logged_service(tiny_run / "bundle", log, GRAFT_API_KEYS=KEY, TZ="Asia/Tokyo") as service:
        yield service


def logged(service: Service, request_id: str) -> dict[str, Any]:
    """A request's one line."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [line for line in service.requests() if line["request_id"] == request_id]
        if found:
            assert len(found) == 1
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no line of {request_id}:\n{service.log.read_text()}")


@pytest.mark.slow
def test_request_is_one_line_with_its_fields_and_a_time_in_utc(service: Service) -> None:
    picture, headers = (
        make_picture("bars", 930),
        {"x-request-id": "a/b:c.d=1", "authorization": f"Bearer {KEY}"},
    )
    answer = httpx.post(f"{service.url}/predict?top_k=1", content=picture, headers=headers)
    line = logged(service, "a/b:c.d=1")
    assert answer.headers["x-request-id"] == "a/b:c.d=1"
    assert set(line) == FIELDS | TIMES
    assert (line["method"], line["path"], line["route"], line["status"]) == (
        "POST",
        "/predict",
        "predict",
        200,
    )
    assert (line["bytes_in"], line["bytes_out"], line["client"]) == (
        len(picture),
        len(answer.content),
        "127.0.0.1",
    )
    assert (line["level"], line["logger"], line["message"]) == ("info", "graft.access", "POST /predict 200")
    assert sum(line[name] for name in TIMES) <= line["duration_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)).total_seconds() < 30


@pytest.mark.slow
@pytest.mark.parametrize("given", ["two words", '"},{"level":"error"', "x" * 129, "tab\there", ""])
def test_request_id_is_replaced_when_it_is_not_a_plain_one(service: Service, given: str) -> None:
    returned = httpx.get(f"{service.url}/livez", headers={"x-request-id": given}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", returned)
    assert logged(service, returned)["route"] == "live"


@pytest.mark.slow
def test_log_shows_no_key_wherever_it_was_sent(service: Service) -> None:
    picture, file = make_picture("bars", 931), {"image": (f"{KEY}.png", b"x", KEY)}
    with httpx.Client(base_url=service.url) as client:
        answers = [
            client.post("/predict", content=picture, headers={"authorization": f"Bearer {KEY}"}),
            client.post("/predict", content=picture, headers={"x-api-key": KEY}),
            client.post("/predict", headers={"authorization": f"Basic {KEY}"}),
            client.post("/predict", headers={"authorization": f"Bearer {KEY}wrong"}),
            client.post(f"/predict?api_key={KEY}"),
            client.post(f"/predict?top_k={KEY}", content=picture, headers={"x-api-key": KEY}),
            client.get(f"/nowhere?{KEY}", headers={"cookie": KEY, "traceparent": KEY, "user-agent": KEY}),
            client.post("/predict", content=KEY.encode(), headers={"x-api-key": KEY}),
            client.post("/predict", json={"key": KEY}, headers={"x-api-key": KEY}),
            client.post("/predict", files=file, headers={"x-api-key": KEY}),
            client.post(
                "/predict",
                content=b"x",
                headers={"x-api-key": KEY, "content-type": f"multipart/form-data; boundary={KEY}"},
            ),
            client.post("/predict", content=b"x", headers={"x-api-key": KEY, "content-encoding": KEY}),
        ]
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port)) as raw:
        raw.sendall(f"NONSENSE {KEY}\r\n{KEY}\r\n\r\n".encode())
        raw.recv(4096)
    for answer in answers:
        logged(service, answer.headers["x-request-id"])
    assert [answer.status_code for answer in answers] == [
        200,
        200,
        401,
        401,
        401,
        400,
        404,
        400,
        415,
        400,
        400,
        415,
    ]
    assert KEY not in service.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("/a%0A%7B%22level%22:%22error%22%7D", '/a\n{"level":"error"}'),
        ("/%1B%5B31m%7F%C2%9B%E2%80%A8", "/\x1b[31m\x7f\x9b\u2028"),
        ("/%00%ff%ed%a0%80", "/\0" + 4 * "\ufffd"),
        ("/" + 500 * "x", "/" + 199 * "x"),
    ],
)
def test_path_is_escaped_and_cut_when_it_is_hostile(service: Service, sent: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port)) as raw:
        raw.sendall(
            f"GET {sent} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {len(path)}{sent[1:9]}\r\n"
            "connection: close\r\n\r\n".encode()
        )
        identity = re.search(rb"x-request-id: (\S+)", raw.recv(4096))
    assert identity
    assert logged(service, identity[1].decode())["path"] == path
    assert not re.search(rb"[^\x20-\x7e\n]", service.log.read_bytes())


@pytest.mark.slow
def test_service_logs_no_request_when_its_level_is_warning(tiny_run: Path, tmp_path: Path) -> None:
    with logged_service(tiny_run / "bundle", tmp_path / "log", GRAFT_LOG_LEVEL="WARNING") as service:
        assert httpx.post(f"{service.url}/predict", content=make_picture("bars", 932)).status_code == 200
        service.stop()
        assert service.log.read_text() == ""


def test_log_level_is_refused_when_unknown() -> None:
    assert read_settings({"bundle": "x"}, {}).log_level == "info"
    assert read_settings({"bundle": "x"}, {"GRAFT_LOG_LEVEL": "Error"}).log_level == "error"
    with pytest.raises(SettingsError, match="log_level"):
        read_settings({"bundle": "x"}, {"GRAFT_LOG_LEVEL": "loud"})


@pytest.fixture
def _logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, uvicorn = root.handlers[:], root.level, logging.getLogger("uvicorn").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(uvicorn)
    logging.captureWarnings(capture=False)


def written(capsys: pytest.CaptureFixture[str]) -> str:
    """What was logged, once the thread that writes it has ended."""
    logging.getLogger().handlers[0].close()
    return capsys.readouterr().err


@pytest.mark.usefixtures("_logging_put_back")
def test_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("graft").exception("request %s failed", "abc", stack_info=True)
    (line,) = written(capsys).splitlines()
    record = json.loads(line)
    assert record["message"] == "request abc failed"
    assert record["level"] == "error"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ValueError: two\nlines")
    assert record["stack"].startswith("Stack")


@pytest.mark.usefixtures("_logging_put_back")
def test_requests_are_not_logged_when_the_level_is_above(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    assert not logs_requests()
    configure_logging("info")
    assert logs_requests()
    log_request({"method": "GET", "path": "/x%s", "status": 200}, "f" * 32)
    record = json.loads(written(capsys))
    assert (record["message"], record["trace_id"]) == ("GET /x%s 200", "f" * 32)


def test_time_has_its_own_milliseconds_within_one_second() -> None:
    lines, times = JsonLines(), []
    for created in (1_700_000_000.0019, 1_700_000_000.9999, 1_700_000_001.0):
        record = logging.makeLogRecord({"created": created, "msg": "x"})
        times.append(json.loads(lines.format(record))["time"])
    assert times == ["2023-11-14T22:13:20.001Z", "2023-11-14T22:13:20.999Z", "2023-11-14T22:13:21.000Z"]
