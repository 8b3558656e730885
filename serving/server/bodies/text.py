"""Texts: ``{"text": "…"}`` or ``text/plain``, and ``{"texts": ["…", …]}``."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from serving.model.errors import InputRefusedError
from serving.server.bodies.body import media_type, read_body, refuse_many

JSON, PLAIN = "application/json", "text/plain"
ONE, MANY = '{"text": "…"}', '{"texts": ["…", "…"]}'


async def read_one(request: Request) -> bytes:
    """The UTF-8 bytes of one text.

    Raises:
        InputRefusedError: Another media type, broken JSON, no `text`, or one that is not a string.
    """
    declared = media_type(request)
    if declared == PLAIN:
        _refuse_other_charsets(request)
        return await read_body(request)
    if declared != JSON:
        raise InputRefusedError("wrong_type", f"Send {JSON} with {ONE}, or {PLAIN}.", status=415)
    return _encode(await _value(request, "text", ONE), "text")


async def read_many(request: Request, max_items: int) -> list[bytes]:
    """The UTF-8 bytes of every text, in order.

    Raises:
        InputRefusedError: Another media type, broken JSON, no `texts`, none or more than ``max_items`` in it, or one that is not a string.
    """
    if media_type(request) != JSON:
        raise InputRefusedError("wrong_type", f"Send {JSON} with {MANY}.", status=415)
    texts = await _value(request, "texts", MANY)
    if not isinstance(texts, list):
        raise InputRefusedError("wrong_json_type", f"`texts` is {_name(texts)}, but must be a list of strings: {MANY}.")
    if not texts:
        raise InputRefusedError("empty_batch", "`texts` is empty. Send at least one text.")
    refuse_many(len(texts), max_items)
    return [_encode(text, f"texts[{index}]") for index, text in enumerate(texts)]


def _refuse_other_charsets(request: Request) -> None:
    parameters = dict(part.strip().partition("=")[::2] for part in request.headers["content-type"].lower().split(";")[1:])
    if parameters.get("charset", "utf-8").strip('"') not in {"utf-8", "utf8", "us-ascii"}:
        raise InputRefusedError("wrong_charset", "Send the text as UTF-8.", status=415)


async def _value(request: Request, key: str, example: str) -> Any:  # noqa: ANN401 - any JSON value
    document = _parse(await read_body(request))
    if not isinstance(document, dict):
        raise InputRefusedError("wrong_json_type", f"The body is {_name(document)}, but must be an object: {example}.")
    if key not in document:
        raise InputRefusedError("missing_field", f"The object has no `{key}`. Send {example}.")
    other = next((name for name in document if name != key), None)
    if other is not None:
        shown = other[:40].encode("ascii", "backslashreplace").decode()  # a key may hold half of a surrogate pair
        raise InputRefusedError("unknown_field", f"The object has `{shown}`, which means nothing here. Send {example}.")
    return document[key]


def _parse(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputRefusedError("not_utf8", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except RecursionError as error:
        raise InputRefusedError("broken_json", "The body is nested too deeply.") from error
    except ValueError as error:
        raise InputRefusedError("broken_json", f"The body is not JSON: {str(error)[:120]}.") from error


def _encode(text: object, place: str) -> bytes:
    if not isinstance(text, str):
        raise InputRefusedError("wrong_json_type", f"`{place}` is {_name(text)}, but must be a string.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputRefusedError("lone_surrogate", f"`{place}` has half of a surrogate pair at position {error.start}.") from error


def _name(value: object) -> str:
    """JSON's own name of a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
