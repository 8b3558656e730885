"""What a refusal looks like, by its status: the body, and an example of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from serving.server.http.replies import is_protocol


@dataclass(frozen=True)
class Refusal:
    """Refusals of one status.

    Attributes:
        name: Of the component.
        description: When it comes.
        code: Of one such refusal.
        message: The same in words.
        header: That comes with it.
    """

    name: str
    description: str
    code: str
    message: str
    header: str | None = None


REFUSALS: Final = {
    400: Refusal("BadRequest", "It cannot be read.", "empty_input", "The picture is empty (0 bytes). Send the bytes of a picture file."),
    401: Refusal(
        "Unauthorized",
        "It needs a key.",
        "unauthorized",
        "An API key is needed. Send it as `Authorization: Bearer KEY`.",
        "WWW-Authenticate",
    ),
    404: Refusal("NotFound", "There is no such thing.", "unknown_model", "There is no model `cats` here, but `pets`."),
    405: Refusal("MethodNotAllowed", "The path takes another method.", "wrong_method", "This path takes POST."),
    408: Refusal("TooSlow", "It did not arrive in time.", "body_timeout", "The body has not arrived within 20 s. Send it faster."),
    413: Refusal(
        "TooLarge", "It is too large, or has too many items.", "too_many_items", "The request holds 300 items; at most 256 are accepted."
    ),
    415: Refusal("WrongType", "Its media type or encoding is not read.", "wrong_encoding", "Send the body as it is, not as gzip."),
    431: Refusal(
        "HeadersTooLarge", "Its headers are too large.", "headers_too_large", "The headers have more than 32,768 bytes. Send less."
    ),
    503: Refusal(
        "Unavailable",
        "No model is ready, or too many requests wait.",
        "overloaded",
        "32 requests are waiting, and no more may. Try again later, or at another replica.",
        "Retry-After",
    ),
}


def refusal_name(status: int, path: str) -> str:
    """The component's name: below /v2 the body is the protocol's."""
    return REFUSALS[status].name + ("V2" if is_protocol(path) else "")


def describe_refusals() -> dict[str, Any]:
    """All component responses."""
    return {refusal_name(status, path): _describe(refusal, path) for status, refusal in REFUSALS.items() for path in ("/", "/v2")}


def _describe(refusal: Refusal, path: str) -> dict[str, Any]:
    detail = {"code": refusal.code, "message": refusal.message}
    example = {"error": refusal.message, "code": refusal.code} if is_protocol(path) else {"error": detail}
    schema = "InferenceError" if is_protocol(path) else "ErrorBody"
    names = ("X-Request-ID", refusal.header) if refusal.header else ("X-Request-ID",)
    return {
        "description": refusal.description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}},
    }
