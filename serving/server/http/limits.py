"""Limits on a request's body while it arrives: its size, its time, and the memory of all bodies together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.model.errors import InputRefusedError
from serving.server.http.encoding import GZIP, Unpacking, read_encoding

_PLACE: Final = "graft.body"
BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
MOST_READ_AWAY_BYTES: Final = 1024 * 1024
READ_AWAY_S: Final = 1.0


@dataclass(frozen=True)
class BodyLimits:
    """What a body must keep to.

    Attributes:
        max_bytes: Size of the largest body, in bytes.
        timeout_s: Seconds in which a body must have arrived.
        max_buffered_bytes: Size of all bodies together that are held at one time, in bytes.
    """

    max_bytes: int
    timeout_s: float
    max_buffered_bytes: int


@dataclass
class Buffered:
    """Number of bytes of all bodies that are held at this moment."""

    bytes: int = 0


class LimitedBody:
    """An ASGI ``receive`` that raises InputRefusedError past a limit, and unpacks a body that is gzip.

    The size of a body is what must be held of it: its bytes once they are unpacked. What arrives must keep to
    the same limit, which a stream that unpacks to nothing could pass else.

    Args:
        scope: The ASGI scope of the request.
        receive: Where the body comes from.
        limits: Limits that it must keep to.
        buffered: Count that all requests share.

    Attributes:
        bytes: Number of bytes that are held, unpacked.
        arrived: Number of bytes that have arrived, packed or not.
        is_complete: Whether the body has arrived whole.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: BodyLimits, buffered: Buffered) -> None:
        self._receive = receive
        self._unpacking = Unpacking() if read_encoding(scope["headers"]) == GZIP else None
        self._limits = limits
        self._buffered = buffered
        self._until = time.monotonic() + limits.timeout_s
        headers = {name: value for name, value in scope["headers"] if name in BODY_HEADERS}
        self._declared = headers.get(b"content-length", b"0")
        self.bytes = self.arrived = 0
        self.is_complete = self._declared == b"0" and b"transfer-encoding" not in headers
        is_small = self._declared.isdigit() and int(self._declared[:20]) <= MOST_READ_AWAY_BYTES
        self._may_read_away = is_small and b"expect" not in headers

    @staticmethod
    def of(scope: Scope) -> LimitedBody:
        """Return the body of a request that has passed :class:`BodyLimitMiddleware`."""
        body: LimitedBody = scope[_PLACE]
        return body

    async def __call__(self) -> Message:
        """Receive the next part."""
        message = await (self._unpacking.receive(self._arrive) if self._unpacking else self._arrive())
        size = len(message.get("body", b""))
        self.bytes += size
        self._buffered.bytes += size
        if max(self.bytes, self.arrived) > self._limits.max_bytes:
            raise self._too_large()
        if self._buffered.bytes > self._limits.max_buffered_bytes and message.get("more_body", False):
            text = "The bodies of arriving requests fill the memory that is theirs. Try again later."
            raise InputRefusedError("overloaded", text, status=503, retry_after_s=1)
        return message

    async def _arrive(self) -> Message:
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError as error:
            text = f"The body has not arrived within {self._limits.timeout_s:g} s. Send it faster."
            raise InputRefusedError("body_timeout", text, status=408) from error
        self.arrived += len(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)
        return message

    def require_size(self) -> None:
        """Raise InputRefusedError for a body that declares to be too large, before any of it is read."""
        if not self._declared.isdigit():
            raise InputRefusedError("bad_content_length", "Content-Length is not a number.")
        most = self._limits.max_bytes
        if len(self._declared) > len(str(most)) + 10 or int(self._declared) > most:
            raise self._too_large()

    async def read_away(self) -> None:
        """Read and forget the rest of a small body, so that its client sees an answer that came early.

        A connection that is closed while its client still sends is reset, and the answer is lost with it (RFC
        9112, section 9.6). Large bodies would keep the answer for too long: LingerMiddleware reads them.
        """
        if self.is_complete or not self._may_read_away:
            return
        with suppress(InputRefusedError, TimeoutError):
            async with asyncio.timeout(READ_AWAY_S):
                while not self.is_complete:
                    await self._arrive()

    def release(self) -> None:
        """Count the body as held no more."""
        self._buffered.bytes -= self.bytes
        self._buffered = Buffered()

    def _too_large(self) -> InputRefusedError:
        text = f"The body is larger than {self._limits.max_bytes:,} bytes. Send less at a time."
        return InputRefusedError("body_too_large", text, status=413)


class BodyLimitMiddleware:
    """Limits the body of every request, and closes a connection whose body was not read to its end.

    Args:
        app: The application inside.
        get_limits: Gives the limits that hold at this moment.
        buffered: Count of the bytes of all bodies that are held.
    """

    def __init__(self, app: ASGIApp, get_limits: Callable[[], BodyLimits], buffered: Buffered) -> None:
        self._app = app
        self._get_limits = get_limits
        self._buffered = buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = scope[_PLACE] = LimitedBody(scope, receive, self._get_limits(), self._buffered)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.read_away()
                if not body.is_complete:  # what was not read must not be taken for the next request
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, body, send_after_body)
        finally:
            body.release()
