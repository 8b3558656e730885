"""Answers to requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from serving.model.errors import InputRefusedError, ServingError
from serving.model.schemas import ErrorBody, ErrorDetail
from serving.server.http.asgi import Send

JSON = "application/json"
HTTP_UNAUTHORIZED, HTTP_SERVICE_UNAVAILABLE = 401, 503


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, whole.

    Attributes:
        body: Its bytes.
        status: The HTTP status code.
        media_type: Of the body.
        headers: Further ones, by their names.
        code: Of the refusal that it is, or None.
    """

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None

    async def send(self, send: Send, more_headers: list[tuple[bytes, bytes]]) -> None:
        """Send it."""
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
            *((name.encode(), value.encode("latin-1")) for name, value in self.headers.items()),
            *more_headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(value: Any, status: int = 200) -> Reply:  # noqa: ANN401 - any JSON value
    """A JSON value."""
    return Reply(json.dumps(value, ensure_ascii=False).encode(), status)


def refusal_reply(error: ServingError, path: str = "") -> Reply:
    """Why a request is not answered, in the one shape of errors; below /v2 in the other one that its protocol asks for."""
    status = error.status if isinstance(error, InputRefusedError) else HTTP_SERVICE_UNAVAILABLE
    if is_protocol(path):
        body = json.dumps({"error": error.message, "code": error.code}).encode()
    else:
        body = ErrorBody(error=ErrorDetail(code=error.code, message=error.message)).to_bytes()
    return Reply(body, status, headers=_headers(error, status), code=error.code)


def _headers(error: ServingError, status: int) -> dict[str, str]:
    """What a client should know beside the reason (RFC 9110, sections 10.2 and 11.6)."""
    refused = error if isinstance(error, InputRefusedError) else None
    headers = {}
    if status == HTTP_SERVICE_UNAVAILABLE:
        headers["retry-after"] = str((refused and refused.retry_after_s) or 1)
    if status == HTTP_UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if refused and refused.allow:
        headers["allow"] = ", ".join(refused.allow)
    return headers


def is_protocol(path: str) -> bool:
    """Whether the Open Inference Protocol says what is answered there."""
    return path == "/v2" or path.startswith("/v2/")
