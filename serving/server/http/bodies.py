"""What limits a request's body while it arrives: its size, its time, and the memory of all of them together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from serving.model.errors import InputRefusedError
from serving.server.http.asgi import Message, Receive, Scope

BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"expect"})
MOST_READ_AWAY_BYTES = 1024 * 1024
READ_AWAY_S = 1.0


@dataclass(frozen=True)
class BodyLimits:
    """How large a body may be, how long it may take, and how much of all bodies is held at one time."""

    max_bytes: int
    timeout_s: float
    max_buffered_bytes: int


@dataclass
class Buffered:
    """Bytes of bodies that are held at this moment."""

    bytes: int = 0


class LimitedBody:
    """A ``receive`` that raises InputRefusedError past a limit.

    Args:
        scope: The request's.
        receive: Where its body comes from.
        limits: What it must keep to.
        buffered: Shared by all requests.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: BodyLimits, buffered: Buffered) -> None:
        self._receive = receive
        self._limits = limits
        self._buffered = buffered
        self._until = asyncio.get_running_loop().time() + limits.timeout_s
        headers = {name: value for name, value in scope["headers"] if name in BODY_HEADERS}
        self._declared = headers.get(b"content-length", b"0")
        self.bytes = 0
        self.is_complete = self._declared == b"0" and b"transfer-encoding" not in headers
        self._may_read_away = b"expect" not in headers and self._declared.isdigit() and int(self._declared[:20]) <= MOST_READ_AWAY_BYTES

    async def __call__(self) -> Message:
        """The next part."""
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            text = f"The body has not arrived within {self._limits.timeout_s:g} s. Send it faster."
            raise InputRefusedError("body_timeout", text, status=408) from error
        size = len(message.get("body", b""))
        self.bytes += size
        self._buffered.bytes += size
        self.is_complete = not message.get("more_body", False)
        if self.bytes > self._limits.max_bytes:
            raise self._too_large()
        if self._buffered.bytes > self._limits.max_buffered_bytes and not self.is_complete:
            text = "The bodies of the requests that are arriving fill the memory that is theirs. Try again later."
            raise InputRefusedError("overloaded", text, status=503, retry_after_s=1)
        return message

    def close(self) -> None:
        """Let go of it."""
        self._buffered.bytes -= self.bytes
        self._buffered, self.bytes = Buffered(), 0

    def require_size(self) -> None:
        """Raise InputRefusedError for a body that says it is too large, before it is read. One that says nothing is counted."""
        if not self._declared.isdigit():
            raise InputRefusedError("bad_content_length", "Content-Length is not a number.")
        if len(self._declared) > len(str(self._limits.max_bytes)) + 10 or int(self._declared) > self._limits.max_bytes:
            raise self._too_large()

    async def read_away(self) -> None:
        """Read and forget what is left of a small body, so that its client sees an answer that came before the body's end.

        A connection that is closed while its client sends is reset, and the answer is lost with it (RFC 9112, section 9.6). Large
        bodies are not worth it.
        """
        if self.is_complete or not self._may_read_away:
            return
        with suppress(InputRefusedError, TimeoutError):
            async with asyncio.timeout(READ_AWAY_S):
                while not self.is_complete:
                    await self()

    def _too_large(self) -> InputRefusedError:
        text = f"The body is larger than {self._limits.max_bytes:,} bytes. Send less at a time."
        return InputRefusedError("body_too_large", text, status=413)
