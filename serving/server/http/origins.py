"""Pages from other origins that may call the service from a browser."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.errors import InputRefusedError
from serving.server.http.exchange import Exchange
from serving.server.http.prefix import find_route_path
from serving.server.http.refusals import make_refusal

PAGE_METHODS: Final = ("GET", "HEAD", "POST")
# What a page from another origin may send, and what it may read of an answer, beside what any page may.
PAGE_HEADERS: Final = (
    "Authorization", "Baggage", "Content-Encoding", "Content-Type", "Inference-Header-Content-Length",
    "Traceparent", "Tracestate", "X-API-Key", "X-Request-ID",
)  # fmt: skip
READ_HEADERS: Final = (
    "Accept-Encoding", "Allow", "Inference-Header-Content-Length", "Retry-After", "Server-Timing",
    "WWW-Authenticate", "X-Request-ID",
)  # fmt: skip
PREFLIGHT_REFUSED: Final = "preflight_refused"
_PREFLIGHT_HEADERS: Final = {"origin", "access-control-request-method"}


class OriginMiddleware(CORSMiddleware):
    """Lets pages from chosen origins ask, and read what is answered, refusals included.

    It is Starlette's, but other origins get no header of it at all, and a preflight is refused in the one
    shape of errors.

    Args:
        app: The application inside.
        origins: The origins, such as ``https://app.example.org``.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=PAGE_METHODS,
            allow_headers=PAGE_HEADERS,
            # A chosen page may be a public one and the service of a private network, and both are meant.
            allow_private_network=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        headers = Headers(raw=scope.get("headers", []))
        if scope.get("method") != "OPTIONS" or not _PREFLIGHT_HEADERS.issubset(headers):
            await super().__call__(scope, receive, send)
            return
        response = self.preflight_response(headers)
        if response.status_code != HTTPStatus.OK:
            Exchange.of(scope).code = PREFLIGHT_REFUSED
            response = self._refuse_preflight(headers, find_route_path(scope), bytes(response.body).decode())
        await response(scope, receive, send)

    @staticmethod
    def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
        """Add the headers for a chosen origin."""
        CORSMiddleware.allow_explicit_origin(headers, origin)
        headers["access-control-expose-headers"] = ", ".join(READ_HEADERS)

    def _refuse_preflight(self, asked: Headers, path: str, reason: str) -> Response:
        text = (
            f"{reason}. Name a page's origin by --allow-origin or GRAFT_ALLOW_ORIGIN; "
            f"it may then use {', '.join(PAGE_METHODS)} with {', '.join(PAGE_HEADERS)}."
        )
        response = make_refusal(InputRefusedError(PREFLIGHT_REFUSED, text), path)
        response.headers["vary"] = "Origin"
        if self.is_allowed_origin(asked["origin"]):  # a browser's console then says what is not allowed
            response.headers.update(self.preflight_headers | {"access-control-allow-origin": asked["origin"]})
        return response
