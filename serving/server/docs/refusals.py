"""What a refusal looks like in OpenAPI, by its status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from serving.server.http.refusals import is_protocol

ALWAYS: Final = frozenset({400, 405, 408, 413, 431})
"""Status codes for which any request can be refused, whatever it asks for."""

DESCRIPTIONS: Final = {
    400: "The request cannot be read.",
    401: "The request needs a key.",
    404: "There is no such model or version.",
    405: "The path takes another method.",
    408: "The request did not arrive in time.",
    413: "The request is too large, or holds too many items.",
    415: "The media type or the encoding of the body is not read.",
    431: "The headers are too large.",
    503: "No model is ready, or too many requests wait.",
}
_HEADERS: Final = {401: "WWW-Authenticate", 503: "Retry-After"}


def refusal_name(status: int, path: str) -> str:
    """Return the component's name: below /v2 the body is the protocol's."""
    return HTTPStatus(status).name + ("_V2" if is_protocol(path) else "")


def describe_refusals() -> dict[str, Any]:
    """Return all component responses."""
    return {
        refusal_name(status, path): _describe(status, path)
        for status in DESCRIPTIONS
        for path in ("/", "/v2")
    }


def _describe(status: int, path: str) -> dict[str, Any]:
    names = ["X-Request-ID", *([_HEADERS[status]] if status in _HEADERS else [])]
    schema = {"$ref": f"#/components/schemas/{'InferenceError' if is_protocol(path) else 'ErrorBody'}"}
    return {
        "description": DESCRIPTIONS[status],
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": schema}},
    }
