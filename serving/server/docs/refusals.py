"""What a refusal looks like in OpenAPI, by its status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from pydantic.json_schema import JsonSchemaValue

from serving.server.http.refusals import is_protocol

ALWAYS: Final = frozenset({400, 405, 408, 413, 431})
"""Status codes for which any request can be refused, whatever it asks for."""

DESCRIPTIONS: Final = {
    400: "The request cannot be read, or its body not be unpacked, and its code says why.",
    401: "`unauthorized`: the request needs a key.",
    404: "`unknown_model` or `unknown_version`: another one answers here.",
    405: "`wrong_method`: the path takes another method.",
    408: "`body_timeout`: the body did not arrive in time.",
    413: "`body_too_large`, `too_many_items`, …: the request is too large, or holds too many items.",
    415: "`wrong_type`, `wrong_encoding`, …: the media type or the encoding of the body is not read.",
    431: "`headers_too_large`: the headers are too large.",
    503: "`overloaded` or `deadline_exceeded`: too many requests wait; or the reason why no model is "
    "ready, or `no_keys`: without keys, other machines are given no predictions.",
}
_HEADERS: Final = {401: "WWW-Authenticate", 415: "Accept-Encoding", 503: "Retry-After"}


def refusal_name(status: int, path: str) -> str:
    """Return the component's name: below /v2 the body is the protocol's."""
    return HTTPStatus(status).name + ("_V2" if is_protocol(path) else "")


def describe_refusals() -> JsonSchemaValue:
    """Return all component responses."""
    return {
        refusal_name(status, path): _describe(status, path)
        for status in DESCRIPTIONS
        for path in ("/", "/v2")
    }


def _describe(status: int, path: str) -> JsonSchemaValue:
    names = ["X-Request-ID", *([_HEADERS[status]] if status in _HEADERS else [])]
    schema = {"$ref": f"#/components/schemas/{'InferenceError' if is_protocol(path) else 'ErrorBody'}"}
    return {
        "description": DESCRIPTIONS[status],
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": schema}},
    }
