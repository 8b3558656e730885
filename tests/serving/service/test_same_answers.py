"""Below HTTP, `bentoml serve` answers as `graft serve` does: the same connection code runs in both."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import free_port, make_picture, serving
from tests.serving.processes import logged_service

pytestmark = pytest.mark.slow
PICTURE = make_picture("bars", 962)
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"
LENGTH = b"content-length: %d\r\n" % len(PICTURE)
REQUESTS = {
    "prediction": HEAD + LENGTH + b"connection: close\r\n\r\n" + PICTURE,
    "HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + LENGTH + b"\r\n" + PICTURE,
    "upgrade to HTTP/2": HEAD
    + LENGTH
    + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n"
    + PICTURE,
    "upgrade to WebSocket": b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
    "large headers": HEAD
    + b"".join(b"x-%d: %s\r\n" % (index, b"x" * 1000) for index in range(100))
    + b"\r\n",
    "an endless header": HEAD + b"x: " + b"x" * 300_000,
    "two lengths": HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "a proxy's client": b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\n"
    b"x-forwarded-for: 10.9.8.7\r\nconnection: close\r\n\r\n",
    "wrong method": b"GET /predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "a slash at the end": b"GET /livez/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "preflight": b"OPTIONS /predict HTTP/1.1\r\nhost: localhost\r\norigin: https://a.example.org\r\n"
    b"access-control-request-method: POST\r\nconnection: close\r\n\r\n",
}
VARYING = re.compile(rb"(?im)^(date|x-request-id|server-timing):.*\r\n|(?<=is refused, and )\S+")


@pytest.fixture(scope="module")
def ports(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of `graft serve` and of the Bento."""
    tag, port = json.loads((tiny_run / "package" / "bento.json").read_text())["bento"], free_port()
    bento = serving([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], port)
    with bento, logged_service(tiny_run / "bundle", tmp_path_factory.mktemp("graft") / "log") as service:
        yield int(service.url.rpartition(":")[2]), port


def ask(port: int, request: bytes) -> bytes:
    """All that comes for a request until the connection ends, or half a second long nothing."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
        with suppress(OSError):  # it was refused before it was whole
            connection.sendall(request)
        with suppress(OSError):
            while part := connection.recv(65_536):
                received += part
    return received


@pytest.mark.parametrize("name", REQUESTS)
def test_both_servers_answer_the_same_bytes(ports: tuple[int, int], name: str) -> None:
    ours, bentos = (VARYING.sub(b"", ask(port, REQUESTS[name])) for port in ports)
    assert ours.startswith(b"HTTP/1.1 ")
    assert ours == bentos
