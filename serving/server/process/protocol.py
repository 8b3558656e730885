"""uvicorn's HTTP/1.1 connection, hardened against hostile clients.

Headers have a size and a time, and what is not HTTP is answered in the one shape of errors. The class
overrides private methods of uvicorn's, so that the dependency is pinned to one minor version, and a test
names what is used.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.model.errors import InputRefusedError
from serving.server.http.access import MOST_HEADER_BYTES
from serving.server.http.linger import LingerMiddleware
from serving.server.http.refusals import make_refusal

log = logging.getLogger("graft")
HEADER_TIMEOUT_S = 20.0
# This is what may pile up before the guard sees anything. It is more than the guard's limit, whose answer
# says more.
MOST_PENDING_BYTES = 2 * MOST_HEADER_BYTES
REFUSED_LINGER_S = 2.0  # for what a client still sends after it was refused
STALL_TIMEOUT_S = 30.0  # a client must have taken some of an answer that does not fit its window by then
UVICORN_KEEP_ALIVE_S = 5
UPGRADES = frozenset({b"connection", b"upgrade", b"http2-settings"})


def harden_connections(receive: object, keep_alive_s: int) -> None:
    """Let a uvicorn that somebody else configured, such as BentoML, use this module's connections.

    Args:
        receive: The ``receive`` of the lifespan, by which uvicorn's configuration is found before it listens.
            Another server's is left alone.
        keep_alive_s: Time after which an idle connection is closed, in seconds, unless uvicorn was given
            another than its own default.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not isinstance(config, uvicorn.Config):
        return
    config.http_protocol_class = HardenedProtocol
    if config.timeout_keep_alive == UVICORN_KEEP_ALIVE_S:
        config.timeout_keep_alive = keep_alive_s
    if isinstance(config.loaded_app, ProxyHeadersMiddleware):  # what a request says of its origin is no fact
        config.loaded_app = config.loaded_app.app
    # Around what others answer early too, such as a limit on requests or a method that a path does not take.
    config.loaded_app = LingerMiddleware(config.loaded_app)


class HardenedProtocol(HttpToolsProtocol):
    """A connection that is closed when its headers are late or too large, or when its answers are not read.

    uvicorn limits none of them: a client that sends a byte of a header now and then, or headers without end,
    would hold memory for good.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0  # counts names and values that are complete
    # Counts reads in which the headers did not end, since a header without end is never complete.
    _unfinished_bytes = 0
    _is_refused = False  # what still comes is forgotten

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        """Called when a client connects."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the client disconnects."""
        self._headers_came()
        self._cancel_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called when bytes arrive."""
        self._unset_keepalive_if_required()
        if not self._is_refused:
            self._unfinished_bytes += len(data)
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserError:
                self.send_400_response("This is not HTTP/1.1.")
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
        if self._header_timer:
            self._refuse_if_large(self._unfinished_bytes)
        elif self.cycle and self.cycle.response_complete:  # empty lines between two requests
            self._await_headers()

    def on_message_begin(self) -> None:
        """Called when a request begins."""
        self._header_bytes = self._unfinished_bytes = 0
        if self._header_timer is None:
            self._await_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Called for each part of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called when all headers have arrived."""
        self._headers_came()
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called when a request ends."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Called when the client does not read as fast as it is answered."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Called when the client reads again."""
        self._cancel_stall()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and close the connection."""
        self._refuse(InputRefusedError("bad_request", msg))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._refuse_if_large(self._header_bytes):
            raise ValueError  # the parser calls nothing further then

    def _refuse_if_large(self, header_bytes: int) -> bool:
        is_refused = header_bytes > MOST_PENDING_BYTES
        if is_refused:
            text = f"More than {MOST_HEADER_BYTES:,} bytes of headers."
            self._refuse(InputRefusedError("headers_too_large", text, status=431))
        return is_refused

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return the request again, without its wish for another protocol, which a server may always ignore.

        The parser leaves the body of a request with ``Upgrade`` to the other protocol, and Java's client
        sends one with its first POST.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return b""
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
        else:  # the client never asked for anything
            self.transport.close()

    def _refuse(self, refusal: InputRefusedError) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        client = self.client and self.client[0]
        log.info("%s: a connection of %s was refused: %s", refusal.code, client, refusal.message)
        response = make_refusal(refusal)
        headers = [*response.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + response.body)
        self._is_refused = True
        self._headers_came()
        if self.cycle:  # an earlier request that is still being answered
            self.cycle.disconnected = True
        # A client that still sends would lose the answer if the connection was closed at once.
        self.loop.call_later(REFUSED_LINGER_S, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()
