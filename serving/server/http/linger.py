"""The end of a request that was answered before its body had come whole."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.http.limits import BODY_HEADERS

# nginx's own: its directives lingering_timeout and lingering_time.
IDLE_S: Final = 5.0
LINGER_S: Final = 30.0


class LingerMiddleware:
    """Reads and forgets what a client still sends after it was answered early, and only then ends the answer.

    A connection that is closed while its client sends is reset, and the answer is lost with it (RFC 9112,
    section 9.6): a proxy then reports 502 for what was a 401, and takes the replica for dead. The answer
    itself is sent at once; its client sees its end by the Content-Length.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or all(name not in BODY_HEADERS for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        is_open = False

        async def send_on(message: Message) -> None:
            nonlocal is_open
            if not body.has_ended and message["type"] == "http.response.body":
                is_open = not message.get("more_body", False)
                message = {**message, "more_body": True}
            await send(message)

        await self._app(scope, body, send_on)
        if is_open:
            await body.read_away()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """An ASGI ``receive`` that knows whether the body has ended.

    Args:
        receive: Where the body comes from.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_ended = False

    async def __call__(self) -> Message:
        """Receive the next part."""
        message = await self._receive()
        self.has_ended = not message.get("more_body", False)
        return message

    async def read_away(self) -> None:
        """Read to the end of the body, for as long as its client sends, and not for longer than 30 s."""
        until = time.monotonic() + LINGER_S
        with suppress(TimeoutError):
            while not self.has_ended:
                async with asyncio.timeout(min(IDLE_S, until - time.monotonic())):
                    await self()
