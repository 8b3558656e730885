"""Content codings: bodies that are unpacked while they arrive, and large answers that are packed."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterable
from typing import Final

from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.model.errors import InputRefusedError

IDENTITY: Final = "identity"
GZIP: Final = "gzip"
PIECE_BYTES: Final = 256 * 1024
LEAST_PACKED_BYTES: Final = 4096  # a prediction has less
_NAMES: Final = {"": IDENTITY, "x-gzip": GZIP}
_WBITS: Final = 31  # zlib's for gzip, with its header and its checksum
# What a step takes of what has arrived: zlib copies the rest of it at the end of each of a stream's members.
_STEP_BYTES: Final = 16 * 1024
_ACCEPTS_GZIP: Final = re.compile(rb"(^|,)\s*(x-)?gzip\s*($|,|;\s*q=(?!0(\.0*)?\s*($|,)))", re.IGNORECASE)
_NEVER_PACKED: Final = ("application/octet-stream",)


def read_encoding(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return what a body is packed with: ``identity``, ``gzip``, or what else its headers say, in lower case.

    Args:
        headers: Headers of the request, as ASGI has them. Several that say it are one list.
    """
    given = b", ".join([value.strip() for name, value in headers if name == b"content-encoding"])
    encoding = given.decode("latin-1").lower()
    return _NAMES.get(encoding, encoding)


class Unpacking:
    """A gzip body that is unpacked while it arrives.

    However much comes of how little, no more than ``PIECE_BYTES`` of it are in memory beside what was already
    passed on, and other requests get a turn between two pieces. A body without a byte stays one.
    """

    def __init__(self) -> None:
        self._members = _Members()
        self._has_all = False

    async def receive(self, receive: Receive) -> Message:
        """Return the next ASGI message, with a piece of the unpacked body.

        Args:
            receive: Where the packed body comes from.

        Raises:
            InputRefusedError: ``broken_encoding``: the body is no gzip, is damaged or cut, or has more behind
                its end.
        """
        if self._members.is_drained:
            message = await receive()
            if message["type"] != "http.request":
                return message
            self._members.put(message.get("body", b""))
            self._has_all = not message.get("more_body", False)
        else:
            await asyncio.sleep(0)
        piece = self._members.take()
        is_last = self._has_all and self._members.is_drained
        if is_last:
            self._members.require_end()
        return {"type": "http.request", "body": piece, "more_body": not is_last}


class _Members:
    """The members of a gzip stream, of which most streams have one.

    Attributes:
        is_drained: Whether all that was put has been taken.
    """

    def __init__(self) -> None:
        self._packed = memoryview(b"")
        self._member = zlib.decompressobj(wbits=_WBITS)
        self._is_begun = False
        self.is_drained = True

    def put(self, packed: bytes) -> None:
        """Add what has arrived."""
        self._packed = memoryview(packed)
        self._is_begun |= bool(packed)

    def take(self) -> bytes:
        """Return the next piece, which may be empty."""
        if self._member.eof and self._packed:
            self._member = zlib.decompressobj(wbits=_WBITS)
        given = self._packed[:_STEP_BYTES]
        try:
            piece = self._member.decompress(given, PIECE_BYTES)
        except zlib.error as error:
            raise _broken(str(error).rpartition(": ")[2]) from error
        left = len(self._member.unconsumed_tail) + len(self._member.unused_data)
        self._packed = self._packed[len(given) - left :]
        # A piece that is full may have more behind it inside zlib, although all bytes were taken in.
        self.is_drained = not self._packed and len(piece) < PIECE_BYTES
        return piece

    def require_end(self) -> None:
        """Raise InputRefusedError unless the last member is whole."""
        if self._is_begun and not self._member.eof:
            raise _broken("it ends too early")


def _broken(reason: str) -> InputRefusedError:
    remedy = "Send whole gzip and nothing behind it, or the body as it is without Content-Encoding."
    return InputRefusedError("broken_encoding", f"The body cannot be unpacked with gzip: {reason}. {remedy}")


class PackingMiddleware:
    """Packs large answers with Starlette's parts for clients that accept gzip.

    Its own middleware takes ``gzip;q=0`` for a wish, and costs an answer that is too small 10 microseconds.
    What is larger than 128 KiB it packs in a thread: 256 items of 1,000 labels take 26 ms there. Binary
    tensors stay as they are, since floats hardly get smaller.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        responder: IdentityResponder | None = None

        async def send_packed(message: Message) -> None:
            nonlocal responder
            if message["type"] == "http.response.start" and _is_large(message):
                responder = self._make_responder(scope, send)
            await (responder.send_with_compression(message) if responder else send(message))

        await self._app(scope, receive, send_packed)

    def _make_responder(self, scope: Scope, send: Send) -> IdentityResponder:
        accepted = (value for name, value in scope["headers"] if name == b"accept-encoding")
        if any(map(_ACCEPTS_GZIP.search, accepted)):
            responder: IdentityResponder = GZipResponder(self._app, 0, 1, exclude_content_types=_NEVER_PACKED)
        else:  # which tells caches that there is another form
            responder = IdentityResponder(self._app, 0, exclude_content_types=_NEVER_PACKED)
        responder.send = send
        return responder


def _is_large(start: Message) -> bool:
    length = next((value for name, value in start["headers"] if name == b"content-length"), b"0")
    return int(length) >= LEAST_PACKED_BYTES
