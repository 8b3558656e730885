"""Errors as responses, all in one shape: Starlette's exception handlers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.model.errors import InputRefusedError, ServingError
from serving.model.schemas import Body, ErrorBody, ErrorDetail
from serving.server.http.encoding import GZIP
from serving.server.http.exchange import Exchange
from serving.server.http.prefix import find_route_path

log = logging.getLogger("graft")
JSON: Final = "application/json"
CLIENT_LEFT: Final = 499  # nginx's: nobody receives it, but logs and metrics have it


class InferenceError(Body):
    """The body of every refusal below /v2, where the protocol wants a string under error."""

    error: str = Field(examples=["The request cannot be read."])
    code: str = Field(examples=["bad_request"])


class BodyResponse(Response):
    """A response whose content is one of the service's bodies, as JSON."""

    media_type = JSON

    def render(self, content: Body) -> bytes:
        """Return the bytes of the body."""
        return content.to_bytes()


def is_protocol(path: str) -> bool:
    """Return whether the Open Inference Protocol says what is answered at a path."""
    return path == "/v2" or path.startswith("/v2/")


def make_refusal(error: ServingError, path: str = "") -> Response:
    """Return the response to a request that is refused.

    Args:
        error: Why. Its status is 503 unless it is an InputRefusedError, which brings its own.
        path: Path of the request, which decides on the shape of the body.
    """
    refusal = error if isinstance(error, InputRefusedError) else None
    status = refusal.status if refusal else 503
    body: Body = ErrorBody(error=ErrorDetail(code=error.code, message=error.message))
    if is_protocol(path):
        body = InferenceError(error=error.message, code=error.code)
    headers = {}  # what a client should know beside the reason (RFC 9110, sections 10.2 and 11.6)
    if status == 503:
        headers["retry-after"] = str((refusal and refusal.retry_after_s) or 1)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.code == "wrong_encoding":  # section 15.5.16
        headers["accept-encoding"] = GZIP
    return BodyResponse(body, status, headers)


class FaultMiddleware:
    """Answers a request whose handling failed by a fault of ours.

    The reason goes into the log, and the client gets the request's id, by which it can be found there.
    Starlette would answer outside all other middleware, which then neither notes the request nor looks after
    its body.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        try:
            await self._app(scope, receive, send)
        except Exception:
            if scope["type"] != "http" or Exchange.of(scope).status:
                raise
            log.exception("request %s failed", Exchange.of(scope).id)
            Exchange.of(scope).code = "internal"
            text = "The service failed; its log says why, by this request's id."
            failure = make_refusal(InputRefusedError("internal", text, status=500), find_route_path(scope))
            await failure(scope, receive, send)


async def refuse(request: Request, error: Exception) -> Response:
    """Answer a request that is refused, and note the code for logs and metrics."""
    assert isinstance(error, ServingError), error
    Exchange.of(request).code = error.code
    return make_refusal(error, find_route_path(request.scope))


async def refuse_route(request: Request, error: Exception) -> Response:
    """Answer a request for which there is no route, or whose path takes another method."""
    assert isinstance(error, HTTPException), error
    route = request.scope.get("route")
    if not isinstance(route, Route):
        known = ", ".join(route.path for route in request.app.routes)
        text = f"There is nothing at this path. Known: {known}."
        return await refuse(request, InputRefusedError("unknown_path", text, status=404))
    methods = sorted(route.methods or ())
    text = f"This path takes {' or '.join(methods)}."
    response = await refuse(request, InputRefusedError("wrong_method", text, status=405))
    response.headers["allow"] = ", ".join(methods)
    return response


async def note_disconnect(request: Request, _: Exception) -> Response:
    """Note for logs and metrics that the client left before its request was whole."""
    Exchange.of(request).code = "disconnected"
    return Response(status_code=CLIENT_LEFT)


EXCEPTION_HANDLERS: Final[dict[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    ServingError: refuse,
    HTTPException: refuse_route,
    ClientDisconnect: note_disconnect,
}
