"""What a request must pass before it is read: its path, its size, and a service that can answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.errors import InputRefusedError
from serving.readiness import Readiness
from serving.schemas import ErrorBody, ErrorDetail

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def error_json(code: str, message: str) -> bytes:
    """The body of a refused request."""
    return ErrorBody(error=ErrorDetail(code=code, message=message)).to_bytes()


def too_large(max_body_bytes: int) -> InputRefusedError:
    """The refusal of a body past the limit."""
    return InputRefusedError("body_too_large", f"The body is larger than {max_body_bytes:,} bytes. Send less at a time.", status=413)


class Guard:
    """ASGI middleware that refuses unknown paths, wrong methods and oversized bodies with one shape of error.

    Args:
        app: The application behind it.
        routes: The methods that each known path takes.
        max_body_bytes: Largest body, declared or counted while it arrives.
        readiness: Of the service behind it: while that cannot answer, all but ``/livez`` gets a 503 with the reason.
    """

    def __init__(self, app: App, routes: dict[str, tuple[str, ...]], max_body_bytes: int, readiness: Readiness) -> None:
        self.app = app
        self.routes = routes
        self.max_body_bytes = max_body_bytes
        self.readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, self._counted(receive), send)
        else:
            await _refuse(send, refusal)

    def _refusal(self, scope: Scope) -> InputRefusedError | None:
        methods = self.routes.get(scope["path"])
        if methods is None:
            known = ", ".join(sorted(self.routes))
            return InputRefusedError("unknown_path", f"There is nothing at this path. Known: {known}.", status=404)
        if scope["method"] not in methods:
            return InputRefusedError("wrong_method", f"{scope['path']} takes {' or '.join(methods)}.", status=405)
        if self.readiness.refusal and scope["path"] != "/livez":
            return InputRefusedError(self.readiness.refusal.code, self.readiness.refusal.message, status=503)
        headers = dict(scope["headers"])
        if b"pickle" in headers.get(b"content-type", b""):
            return InputRefusedError("pickle_refused", "Pickled content is never read. Send the input itself.", status=415)
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit():
            return InputRefusedError("bad_content_length", "Content-Length is not a number.")
        return too_large(self.max_body_bytes) if int(declared) > self.max_body_bytes else None

    def _counted(self, receive: Receive) -> Receive:
        """Count what arrives, since a chunked body declares no length; past the limit, reading it raises InputRefusedError."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body_bytes:
                raise too_large(self.max_body_bytes)
            return message

        return counted


async def _refuse(send: Send, refusal: InputRefusedError) -> None:
    body = error_json(refusal.code, refusal.message)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
