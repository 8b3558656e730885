"""Pages from other origins: what browsers ask before, what they may read, and what they may not."""

from __future__ import annotations

import asyncio
import base64
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.model.errors import InputRefusedError, SettingsError
from serving.server.app.build import build_app, frame
from serving.server.app.components import open_components
from serving.server.http.endpoint import Endpoint
from serving.server.process.cli import main
from serving.server.settings import Settings, read_settings
from tests.conftest import free_port, make_picture, serving

HERE, THERE = "https://app.example.org", "https://elsewhere.example.org"
KEY = "a-key-of-sixteen-characters"
ASKED = {
    "origin": HERE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-api-key",
}


async def refuse(request: Request) -> Response:
    raise InputRefusedError("refused", "Refused.", status=int(request.query_params["status"]))


async def fail(_: Request) -> Response:
    raise RuntimeError("a fault of ours")


async def answer(request: Request) -> Response:
    return PlainTextResponse("x" * int(request.query_params.get("size", 1)))


def make_app(path: Path, *origins: str) -> Starlette:
    parts = open_components(Settings(bundle=path, allow_origin=origins))
    handlers = {"/refuse": refuse, "/fail": fail, "/answer": answer, "/v2/answer": answer}
    return frame(
        parts,
        [
            Endpoint("POST", place, place[1:], handler, "probe", "", "text/plain")
            for place, handler in handlers.items()
        ],
    )


def ask(
    app: Starlette, *requests: tuple[str, str, dict[str, str]], content: bytes = b""
) -> list[httpx.Response]:
    async def exchange() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            return [
                await client.request(method, path, headers=headers, content=content)
                for method, path, headers in requests
            ]

    return asyncio.run(exchange())


def of_origins(response: httpx.Response) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}


def listed(response: httpx.Response, name: str) -> set[str]:
    return {value.strip().lower() for value in response.headers.get(name, "").split(",")}


def test_a_preflight_is_answered_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)
    settings = Settings(
        bundle=tmp_path, api_keys_file=tmp_path / "keys", protect_all=True, allow_origin=(HERE,)
    )
    app = build_app(settings)
    for path in ("/predict", "/v2/models/a/infer", "/metrics"):
        (told,) = ask(app, ("OPTIONS", path, ASKED))
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == HERE
        assert listed(told, "access-control-allow-methods") == {"get", "head", "post"}
        assert listed(told, "access-control-allow-headers") >= {
            "authorization", "content-type", "content-encoding", "x-api-key", "x-request-id", "traceparent",
            "inference-header-content-length",
        }  # fmt: skip
        assert "access-control-allow-credentials" not in told.headers
        assert "origin" in listed(told, "vary")
        assert told.headers["x-request-id"]


def test_preflights_are_counted_by_a_name_and_are_not_unknown(tmp_path: Path) -> None:
    app = build_app(Settings(bundle=tmp_path, allow_origin=(HERE,)))
    refused = ASKED | {"origin": THERE}
    *_, metrics = ask(
        app,
        ("OPTIONS", "/predict", ASKED),
        ("OPTIONS", "/predict", refused),
        ("OPTIONS", "/no", {}),
        ("GET", "/metrics", {}),
    )
    assert 'graft_requests_total{route="preflight",status="200"} 1.0' in metrics.text
    assert 'graft_requests_total{route="preflight",status="400"} 1.0' in metrics.text
    assert 'graft_requests_total{route="none",status="404"} 1.0' in metrics.text
    assert 'graft_refusals_total{code="preflight_refused"} 1.0' in metrics.text


@pytest.mark.parametrize(
    "origin", [THERE, "null", "http://app.example.org", f"{HERE}:444", f"{HERE}.evil.org", HERE.upper(), ""]
)
def test_another_origin_gets_no_header_at_all(tmp_path: Path, origin: str) -> None:
    asked, simple = ask(
        make_app(tmp_path, HERE),
        ("OPTIONS", "/answer", ASKED | {"origin": origin}),
        ("POST", "/answer", {"origin": origin}),
    )
    assert (asked.status_code, asked.json()["error"]["code"]) == (400, "preflight_refused")
    assert "--allow-origin" in asked.json()["error"]["message"]
    assert simple.status_code == 200
    for response in (asked, simple):
        assert of_origins(response) == set()
        assert "origin" in listed(response, "vary")


@pytest.mark.parametrize(
    "wish", [{"access-control-request-method": "DELETE"}, {"access-control-request-headers": "x-other"}]
)
def test_a_chosen_origin_is_told_what_it_may_not(tmp_path: Path, wish: dict[str, str]) -> None:
    first, second = ask(
        make_app(tmp_path, HERE), *(("OPTIONS", path, ASKED | wish) for path in ("/answer", "/v2/answer"))
    )
    assert first.json()["error"]["code"] == second.json()["code"] == "preflight_refused"
    assert first.headers["access-control-allow-origin"] == HERE
    assert listed(first, "access-control-allow-methods") == {"get", "head", "post"}


def test_a_public_page_may_call_a_service_of_a_private_network(tmp_path: Path) -> None:
    (told,) = ask(
        make_app(tmp_path, HERE),
        ("OPTIONS", "/answer", ASKED | {"access-control-request-private-network": "true"}),
    )
    assert (told.status_code, told.headers["access-control-allow-private-network"]) == (200, "true")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/answer", 200), ("POST", "/refuse?status=401", 401), ("POST", "/refuse?status=413", 413),
        ("POST", "/refuse?status=503", 503), ("POST", "/nowhere", 404), ("PUT", "/answer", 405),
        ("OPTIONS", "/answer", 405),
        ("POST", "/fail", 500),
    ],
)  # fmt: skip
def test_a_chosen_origin_reads_every_answer(tmp_path: Path, method: str, path: str, status: int) -> None:
    (found,) = ask(make_app(tmp_path, THERE, HERE), (method, path, {"origin": HERE}))
    assert (found.status_code, found.headers["access-control-allow-origin"], found.headers["vary"]) == (
        status,
        HERE,
        "Origin",
    )
    assert "access-control-allow-credentials" not in found.headers
    ours = set(found.headers) - {"content-type", "content-length", "vary", "connection"} - of_origins(found)
    assert ours <= listed(found, "access-control-expose-headers")


def test_a_body_past_the_limit_is_a_readable_refusal(tmp_path: Path) -> None:
    app = build_app(Settings(bundle=tmp_path, allow_origin=(HERE,), max_body_bytes=1000))
    found, asked = ask(
        app, ("POST", "/livez", {"origin": HERE}), ("OPTIONS", "/livez", ASKED), content=b"x" * 3_000_000
    )
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (405, HERE)
    assert (asked.status_code, asked.headers["connection"]) == (200, "close")


def test_a_packed_answer_varies_by_both(tmp_path: Path) -> None:
    (found,) = ask(
        make_app(tmp_path, HERE), ("POST", "/answer?size=5000", {"origin": HERE, "accept-encoding": "gzip"})
    )
    assert listed(found, "vary") == {"origin", "accept-encoding"}
    assert found.headers["content-encoding"] == "gzip"


def test_nothing_of_it_is_there_without_the_setting(tmp_path: Path) -> None:
    asked, simple = ask(
        make_app(tmp_path), ("OPTIONS", "/answer", ASKED), ("POST", "/answer", {"origin": HERE})
    )
    assert (asked.status_code, asked.json()["error"]["code"]) == (405, "wrong_method")
    assert of_origins(asked) | of_origins(simple) == set()
    assert "vary" not in simple.headers


@pytest.mark.parametrize(
    "origin",
    [
        HERE,
        "http://localhost:5173",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
        "chrome-extension://abcdef",
        "http://my_app:1",
    ],
)
def test_settings_take_an_origin(origin: str) -> None:
    assert read_settings({"bundle": "x", "allow_origin": (origin,)}, {}).allow_origin == (origin,)


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example.org", "localhost:5173", "https://", f"{HERE}/", f"{HERE}/path", f"{HERE}?x",
     f"{HERE}#x", "https://*.example.org", "https://user@app.example.org", "https://App.example.org",
     f"{HERE}:443", "http://a:80", f"{HERE}:", f"{HERE}:0",
     f"{HERE}\n", "//app.example.org"],
)  # fmt: skip
def test_settings_refuse_what_no_browser_would_send(origin: str) -> None:
    with pytest.raises(
        SettingsError, match=r"allow_origin \(GRAFT_ALLOW_ORIGIN\): .*such as https://app\.example\.org"
    ) as caught:
        read_settings({"bundle": "x", "allow_origin": (HERE, origin)}, {})
    assert repr(origin) in caught.value.message


def test_settings_come_from_the_environment_and_the_option_goes_first() -> None:
    environment = {"GRAFT_ALLOW_ORIGIN": f"{HERE}, {THERE},"}
    assert read_settings({"bundle": "x", "allow_origin": None}, environment).allow_origin == (HERE, THERE)
    assert read_settings({"bundle": "x", "allow_origin": ("http://a",)}, environment).allow_origin == (
        "http://a",
    )


def test_the_command_refuses_a_star(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path), "--allow-origin", HERE, "--allow-origin", "*"])
    assert done.exit_code == 1
    assert "'*' is no origin" in done.output


UPLOAD = """async ({url, picture, key}) => {
  const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  const body = await new Response(stream).blob();
  try {
    const answer = await fetch(url + "/predict", \
{method: "POST", body, headers: {"X-API-Key": key, "Content-Encoding": "gzip"}});
    const {label, error} = await answer.json();
    return {status: answer.status, label, code: error?.code, \
id: answer.headers.get("X-Request-ID"), timing: answer.headers.get("Server-Timing")};
  } catch (error) {
    return {failed: String(error)};
  }
}"""


@contextmanager
def elsewhere() -> Iterator[str]:
    """A page on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def upload(page: Page, origin: str, **arguments: str) -> dict[str, Any]:
    page.goto(origin)
    return page.evaluate(UPLOAD, arguments)


@pytest.mark.slow
def test_a_real_page_uploads_and_reads_only_from_a_chosen_origin(
    browser: Browser, tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(KEY)
    page = browser.new_page()
    picture = base64.b64encode(make_picture("bars", 970)).decode()
    with elsewhere() as chosen, elsewhere() as other:
        port = free_port()
        command = [sys.executable, "-m", "serving", str(tiny_run / "bundle"), "--port", str(port)]
        command += ["--api-keys-file", str(tmp_path / "keys"), "--allow-origin", chosen]
        with serving(command, port) as url:
            found = upload(page, chosen, url=url, picture=picture, key=KEY)
            refused = upload(page, chosen, url=url, picture=picture, key="wrong")
            foreign = upload(page, other, url=url, picture=picture, key=KEY)
    page.close()
    assert (found.get("status"), found.get("label")) == (200, "bars"), found
    assert found["id"]
    assert "session" in found["timing"]
    assert (refused["status"], refused["code"]) == (401, "unauthorized")
    assert list(foreign) == ["failed"]
