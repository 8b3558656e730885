from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serving.errors import InputRefusedError, ProviderError
from serving.guard import Guard, Message, Receive, Scope, Send
from serving.readiness import Readiness

READY = Readiness()
ROUTES = {"/predict": ("POST",), "/livez": ("GET", "HEAD")}


def call(
    path: str, method: str = "POST", headers: dict[str, str] | None = None, chunks: tuple[bytes, ...] = (b"",), readiness: Readiness = READY
) -> tuple[int, Any]:
    """Send one request through a guard over an application that reads the body and answers its length."""
    sent: list[Message] = []
    incoming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    incoming[-1]["more_body"] = False

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length, more = 0, True
        while more:
            message = await receive()
            length, more = length + len(message["body"]), message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(length).encode()})

    scope = {"type": "http", "path": path, "method": method}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    asyncio.run(Guard(app, ROUTES, max_body_bytes=100, readiness=readiness)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_guard_says_why_when_the_service_cannot_answer() -> None:
    refused = Readiness(ProviderError("provider_failed", "no libcuda.so.1"))
    answer = {"error": {"code": "provider_failed", "message": "no libcuda.so.1"}}
    assert call("/predict", readiness=refused) == (503, answer)
    assert call("/livez", "GET", readiness=refused) == (200, 0)
    assert call("/nothing", readiness=refused)[0] == 404


def test_guard_lets_through_when_allowed() -> None:
    assert call("/predict", chunks=(b"a" * 60, b"b" * 40)) == (200, 100)
    assert call("/livez", "GET") == (200, 0)


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "code"),
    [
        ("/nothing", "POST", {}, 404, "unknown_path"),
        ("/predict/", "POST", {}, 404, "unknown_path"),
        ("/predict", "GET", {}, 405, "wrong_method"),
        ("/predict", "POST", {"Content-Length": "101"}, 413, "body_too_large"),
        ("/predict", "POST", {"Content-Length": "-1"}, 400, "bad_content_length"),
        ("/predict", "POST", {"Content-Type": "application/vnd.bentoml+pickle"}, 415, "pickle_refused"),
    ],
)
def test_guard_refuses_with_one_shape_of_error(path: str, method: str, headers: dict[str, str], status: int, code: str) -> None:
    actual_status, body = call(path, method, headers)
    assert actual_status == status
    assert body["error"]["code"] == code
    assert body["error"]["message"]


def test_guard_stops_reading_when_chunks_exceed_the_limit() -> None:
    with pytest.raises(InputRefusedError) as refused:
        call("/predict", chunks=(b"a" * 60, b"b" * 41))
    assert refused.value.status == 413
