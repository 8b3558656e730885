"""The frame that every request passes: faults of ours, bodies that nobody read, and what is noted of them."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.model.errors import SettingsError
from serving.server.app.build import frame
from serving.server.app.components import Components, open_components, require_startable
from serving.server.app.table import list_endpoints
from serving.server.http.endpoint import Endpoint
from serving.server.settings import OWN_PATHS, Settings, read_settings


async def fail(_: Request) -> Response:
    raise RuntimeError("a fault of ours")


async def fail_late(request: Request) -> Response:
    await request.body()
    raise RuntimeError("a fault of ours")


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def ignore(_: Request) -> Response:
    return PlainTextResponse("unread")


def make_app(path: Path) -> tuple[Components, Callable[..., Awaitable[None]]]:
    parts = open_components(Settings(bundle=path))
    handlers = {"/fail": fail, "/late": fail_late, "/v2/fail": fail, "/echo": echo, "/ignore": ignore}
    rows = [
        Endpoint("POST", place, place.rpartition("/")[2], handler, "probe", "", "text/plain")
        for place, handler in handlers.items()
    ]
    return parts, frame(parts, rows)


def ask(path: Path, place: str, **options: Any) -> tuple[httpx.Response, str]:
    """One answer, and the metrics after it."""
    parts, app = make_app(path)

    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            return await client.post(place, **options)

    return asyncio.run(exchange()), parts.metrics.render().decode()


@pytest.mark.parametrize("place", ["/fail", "/late"])
def test_a_fault_is_answered_noted_and_counted(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer, metrics = ask(tmp_path, place, content=b"x" * 100, headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["x-request-id"]) == (
        500,
        "internal",
        "mine",
    )
    assert "fault of ours" not in answer.text
    assert "request mine failed" in caplog.text
    assert "a fault of ours" in caplog.text
    name = place[1:]
    assert f'graft_requests_total{{route="{name}",status="500"}} 1.0' in metrics
    assert 'graft_refusals_total{code="internal"} 1.0' in metrics
    assert "connection" not in answer.headers, "a small body was read away"


def test_a_fault_below_v2_is_answered_in_the_protocols_shape(tmp_path: Path) -> None:
    answer, _ = ask(tmp_path, "/v2/fail")
    assert (answer.status_code, set(answer.json())) == (500, {"error", "code"})


@pytest.mark.parametrize(("place", "status"), [("/fail", 500), ("/ignore", 200), ("/nowhere", 404)])
def test_a_connection_is_closed_when_a_large_body_was_not_read(
    tmp_path: Path, place: str, status: int
) -> None:
    answer, _ = ask(tmp_path, place, content=b"x" * 2_000_000)
    assert (answer.status_code, answer.headers["connection"]) == (status, "close")


def test_bodies_are_counted_as_held_only_while_they_are(tmp_path: Path) -> None:
    _, app = make_app(tmp_path)

    async def exchange() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            for place in ("/echo", "/ignore", "/fail", "/late", "/nowhere"):
                await asyncio.gather(*(client.post(place, content=b"x" * 10_000) for _ in range(10)))

    asyncio.run(exchange())
    layer = app.middleware_stack
    while not hasattr(layer, "_buffered"):
        layer = getattr(layer, "app", None) or layer._app
    assert layer._buffered.bytes == 0


def test_a_path_is_known_only_without_a_newline_at_its_end(tmp_path: Path) -> None:
    assert ask(tmp_path, "/ignore%0A")[0].status_code == 404


def test_what_is_noted_is_what_was_on_the_wire(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = gzip.compress(b"x" * 100_000)
    with caplog.at_level(logging.INFO, "graft.access"):
        answer, _ = ask(
            tmp_path, "/echo", content=body, headers={"content-encoding": "gzip", "accept-encoding": "gzip"}
        )
    (line,) = [record for record in caplog.records if record.name == "graft.access"]
    assert len(answer.content) == 100_000
    noted = vars(line)["fields"]
    assert (noted["bytes_in"], noted["bytes_out"]) == (len(body), int(answer.headers["content-length"]))
    assert noted["bytes_out"] < 1000


def test_variables_that_others_name_after_the_service_are_none_of_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "GRAFT_SERVICE_HOST",
        "GRAFT_PORT_3000_TCP_ADDR",
        "GRAFT_PORT",
        "GRAFT_CACHE",
        "GRAFT_WORKER_DEATHS",
        "GRAFT_METRICS_FOLDER",
    ):
        monkeypatch.setenv(name, "1")
    require_startable(Settings(bundle=tmp_path))
    monkeypatch.setenv("GRAFT_MAX_QUEU", "3")
    with pytest.raises(SettingsError, match="Did you mean GRAFT_MAX_QUEUE"):
        require_startable(Settings(bundle=tmp_path))


def test_no_prefix_can_hide_a_path_of_the_service(tmp_path: Path) -> None:
    rows = list_endpoints(open_components(Settings(bundle=tmp_path)), schema=dict)
    assert {row.path.split("/")[1] for row in rows} - {""} == OWN_PATHS
    with pytest.raises(SettingsError, match="GRAFT_ROOT_PATH"):
        read_settings({"bundle": tmp_path, "root_path": "/v2/models"})
    with pytest.raises(SettingsError, match="GRAFT_ROOT_PATH"):
        read_settings({"bundle": tmp_path, "root_path": "/cells/"})


@pytest.mark.parametrize(
    ("path", "status"), [("/cells/echo", 200), ("/echo", 200), ("/cells", 307), ("/cellsx/echo", 404)]
)
def test_a_prefix_may_be_there_or_not(tmp_path: Path, path: str, status: int) -> None:
    parts = open_components(Settings(bundle=tmp_path, root_path="/cells"))
    app = frame(parts, [Endpoint("POST", "/echo", "echo", echo, "probe", "", "text/plain")])

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            return await client.post(path, content=b"x")

    answer = asyncio.run(post())
    assert answer.status_code == status
    assert answer.headers.get("location") == ("/cells/" if status == 307 else None)
