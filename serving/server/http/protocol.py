"""uvicorn's HTTP/1.1 connection, for hostile clients: headers have a size and a time, and what is not HTTP gets the one shape of errors."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.model.errors import InputRefusedError
from serving.server.http.guard import MOST_HEADER_BYTES
from serving.server.http.replies import refusal_reply

log = logging.getLogger("graft")
HEADER_TIMEOUT_S = 20.0
# Above the guard's limit, whose answer is the more exact one: this is what may pile up before the guard sees anything.
MOST_PENDING_BYTES = 2 * MOST_HEADER_BYTES
STALL_TIMEOUT_S = 30.0  # in which a client must have taken some of an answer that does not fit its window
UPGRADES = frozenset({b"connection", b"upgrade", b"http2-settings"})


class HardenedProtocol(HttpToolsProtocol):
    """A connection that is closed when its next headers do not arrive in time, or are too large, and when its answers are not read.

    uvicorn limits none of them: a client that sends a byte of a header now and then, or headers without end, would hold memory for good.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0  # of names and values that are complete
    _unfinished_bytes = 0  # of reads in which the headers did not end: one header without end is never complete

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        """A client has connected."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        self._headers_came()
        self._cancel_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of its bytes."""
        self._unset_keepalive_if_required()
        self._unfinished_bytes += len(data)
        while data and not self.transport.is_closing():
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserError:
                self.send_400_response("This is not HTTP/1.1.")
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
        if self._header_timer:
            self._refuse_if_large(self._unfinished_bytes)
        elif self.cycle and self.cycle.response_complete:  # empty lines between two requests
            self._await_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._header_bytes = self._unfinished_bytes = 0
        if self._header_timer is None:
            self._await_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """It is known what it asks for."""
        self._headers_came()
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request ends."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer ends; where it came before the end of its request, the rest is not waited for."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self.transport.close()

    def pause_writing(self) -> None:
        """It does not read as fast as it is answered."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._cancel_stall()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and hang up."""
        self._refuse(InputRefusedError("bad_request", msg))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._refuse_if_large(self._header_bytes):
            raise ValueError  # the parser calls nothing further then

    def _refuse_if_large(self, header_bytes: int) -> bool:
        is_refused = header_bytes > MOST_PENDING_BYTES
        if is_refused:
            self._refuse(InputRefusedError("headers_too_large", f"More than {MOST_HEADER_BYTES:,} bytes of headers.", status=431))
        return is_refused

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request again, as one that asks for no other protocol, which a server may always do.

        The parser leaves the body of a request with ``Upgrade`` to the other protocol; Java's client sends one with its first POST.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] not in UPGRADES]
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        return b"".join([line, *headers, b"\r\n", rest])

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._too_late)

    def _headers_came(self) -> None:
        self._header_bytes = self._unfinished_bytes = 0
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _await_reading(self, before: int | None = None) -> None:
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.cycle.disconnected = True
            self.transport.abort()
        else:
            self._stall_timer = self.loop.call_later(STALL_TIMEOUT_S, self._await_reading, left)

    def _cancel_stall(self) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _too_late(self) -> None:
        if self._header_bytes or self._unfinished_bytes:
            text = f"The headers have not arrived within {HEADER_TIMEOUT_S:g} s."
            self._refuse(InputRefusedError("headers_timeout", text, status=408))
        else:  # it never asked for anything
            self.transport.close()

    def _refuse(self, refusal: InputRefusedError) -> None:
        if self.transport.is_closing():
            return
        log.info("%s: a connection of %s was refused: %s", refusal.code, self.client and self.client[0], refusal.message)
        reply = refusal_reply(refusal)
        head = [STATUS_LINE[reply.status], b"content-type: application/json\r\n", b"connection: close\r\n"]
        head.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        self.transport.write(b"".join(head) + reply.body)
        self.transport.close()
