"""Reading of request bodies: the bytes of each input, by the way in which its kind travels."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import MAX_ITEMS, FileBody, InputKind, JsonBody, name_json_type

MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"
PLAIN: Final = "text/plain"
MOST_FILES: Final = 1000
# What no file is sent as. Anything else may be one: `curl --data-binary` calls whatever it sends
# application/x-www-form-urlencoded.
_OTHER_TYPES: Final = (JSON, "text/")
# What BentoML's client and others send in place of a file, as it is or in a form of `key=value`.
_URL: Final = re.compile(rb"(?:\w{1,80}=)?https?(?:://|%3A%2F%2F)\S{1,4000}\s{0,9}", re.IGNORECASE)


async def read_one(request: Request, kind: InputKind) -> bytes:
    """Return the bytes of the one input that a request holds.

    Raises:
        InputRefusedError: The body is of another media type, is broken, or holds no input or several.
    """
    if isinstance(kind.body, FileBody):
        return await _read_file(request, kind.body, kind.noun)
    return await _read_value(request, kind.body)


async def read_many(request: Request, kind: InputKind) -> list[bytes]:
    """Return the bytes of every input that a request holds, in order.

    Raises:
        InputRefusedError: The body is of another media type, is broken, or holds no input or more than 256.
    """
    if isinstance(kind.body, FileBody):
        if media_type(request) != MULTIPART:
            text = f"Send {MULTIPART} with the field `{kind.body.fields}` once a {kind.noun}."
            raise InputRefusedError("not_multipart", text, status=415)
        items = await _read_form(request, kind.body.fields, kind.noun)
    else:
        items = await _read_values(request, kind.body)
    refuse_many(len(items))
    return items


def media_type(request: Request) -> str:
    """Return the declared type without its parameters, in lower case; empty when none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def refuse_many(count: int) -> None:
    """Raise InputRefusedError for a batch of more than 256 inputs."""
    if count > MAX_ITEMS:
        text = f"The request holds {count:,} items; at most {MAX_ITEMS} are accepted."
        raise InputRefusedError("too_many_items", text, status=413)


async def _read_file(request: Request, body: FileBody, noun: str) -> bytes:
    declared = media_type(request)
    if declared.startswith(_OTHER_TYPES):
        text = f"Send the {noun} itself, as {body.media_type}, or {MULTIPART}."
        raise InputRefusedError("wrong_type", text, status=415)
    if declared != MULTIPART:
        data = await request.body()
        if _URL.fullmatch(data):
            raise _url_refused(noun)
        return data
    files = await _read_form(request, body.field, noun)
    if len(files) > 1:
        text = f"`{body.field}` holds {len(files)} files. Send them to /predict_batch as `{body.fields}`."
        raise InputRefusedError(f"several_{body.fields}", text)
    return files[0]


class _FormParser(MultiPartParser):
    """Starlette's parser, for which each part of one field is a file, with a file name or without.

    Several clients name no file for bytes that do not come from one, and Starlette would take such a part for
    text. Nothing is written to disk: what arrives is bounded, and disks get full.

    Args:
        request: A request with a form.
        field: Name of the field.

    Attributes:
        files: The bytes of each part of the field that arrived whole, in order.
        has_url: Whether a part of the field has no file name, and a URL in place of a file.
    """

    spool_max_size = sys.maxsize

    def __init__(self, request: Request, field: str) -> None:
        super().__init__(request.headers, request.stream(), max_files=MOST_FILES, max_fields=MOST_FILES)
        self.files: list[bytes] = []
        self.has_url = False
        self._field = field
        self._is_wanted = self._has_name = False
        self._arriving = io.BytesIO()

    def on_headers_finished(self) -> None:
        """Begin a part."""
        if len(self.files) == MOST_FILES:
            raise MultiPartException("Too many files")
        super().on_headers_finished()
        part = self._current_part
        name = re.sub(r"\[\d*\]$", "", part.field_name)  # PHP's, Rails' and axios' way to write a list
        self._is_wanted, self._has_name = name == self._field, part.file is not None
        self._arriving = io.BytesIO()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take the next bytes of a part."""
        if self._is_wanted:
            self._arriving.write(memoryview(data)[start:end])
        else:
            super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        """End a part."""
        if not self._is_wanted:
            super().on_part_end()
            return
        file = self._arriving.getvalue()  # which is the buffer itself, and no copy of it
        self.has_url |= not self._has_name and _URL.fullmatch(file) is not None
        self.files.append(file)


async def _read_form(request: Request, field: str, noun: str) -> list[bytes]:
    parser = _FormParser(request, field)
    try:
        await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        # The parser's own words name its internals at times; the first sentence is what helps.
        reason = re.sub(r"\s+", " ", str(getattr(error, "message", error)))[:120].rstrip(".")
        if reason.startswith("Too many files"):
            text = f"The form holds more than {MOST_FILES:,} files."
            raise InputRefusedError("too_many_items", text, status=413) from error
        text = f"The multipart form cannot be read: {reason}."
        raise InputRefusedError("broken_form", text) from error
    if not parser.files:
        text = f"The form has no file in the field `{field}`. With curl: -F {field}=@FILE"
        raise InputRefusedError("missing_field", text)
    if parser.has_url:
        raise _url_refused(noun)
    return parser.files


def _url_refused(noun: str) -> InputRefusedError:
    return InputRefusedError("url_refused", f"A URL came. Send the {noun} itself; no URL is fetched.")


async def _read_value(request: Request, body: JsonBody) -> bytes:
    declared, example = media_type(request), f'{{"{body.field}": {body.shape}}}'
    if declared == PLAIN and body.accepts_plain_text:
        _refuse_other_charsets(request)
        return await request.body()
    if declared != JSON:
        also = f", or {PLAIN}" if body.accepts_plain_text else ""
        raise InputRefusedError("wrong_type", f"Send {JSON} with {example}{also}.", status=415)
    return body.encode(await _read_key(request, body.field, example), body.field)


async def _read_values(request: Request, body: JsonBody) -> list[bytes]:
    key, example = body.fields, f'{{"{body.fields}": [{body.shape}, {body.shape}]}}'
    if media_type(request) != JSON:
        raise InputRefusedError("wrong_type", f"Send {JSON} with {example}.", status=415)
    values = await _read_key(request, key, example)
    if not isinstance(values, list):
        text = f"`{key}` is {name_json_type(values)}, but must be a list: {example}."
        raise InputRefusedError("wrong_json_type", text)
    if not values:
        raise InputRefusedError("empty_batch", f"`{key}` is empty. Send at least one {body.field}.")
    refuse_many(len(values))
    return [body.encode(value, f"{key}[{index}]") for index, value in enumerate(values)]


def _refuse_other_charsets(request: Request) -> None:
    declared = request.headers["content-type"].lower().split(";")[1:]
    parameters = dict(part.strip().partition("=")[::2] for part in declared)
    if parameters.get("charset", "utf-8").strip('"') not in {"utf-8", "utf8", "us-ascii"}:
        raise InputRefusedError("wrong_charset", "Send the text as UTF-8.", status=415)


async def _read_key(request: Request, key: str, example: str) -> Any:  # noqa: ANN401 - any JSON value
    document = parse_json(await request.body())
    if not isinstance(document, dict):
        text = f"The body is {name_json_type(document)}, but must be an object: {example}."
        raise InputRefusedError("wrong_json_type", text)
    if key not in document:
        raise InputRefusedError("missing_field", f"The object has no `{key}`. Send {example}.")
    other = next((name for name in document if name != key), None)
    if other is not None:
        text = f"The object has `{shown(other)}`, which means nothing here. Send {example}."
        raise InputRefusedError("unknown_field", text)
    return document[key]


def parse_json(body: bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON value that a body holds.

    Args:
        body: UTF-8. A byte order mark, which several clients write, is ignored as RFC 8259 allows.
        parse_constant: What is done with NaN and infinities, which Python's parser reads though JSON has
            none.

    Raises:
        InputRefusedError: ``not_utf8`` or ``broken_json``.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=parse_constant)
    except UnicodeDecodeError as error:
        text = f"The body is not UTF-8: {error.reason} at byte {error.start}."
        raise InputRefusedError("not_utf8", text) from error
    except RecursionError as error:
        raise InputRefusedError("broken_json", "The body is nested too deeply.") from error
    except ValueError as error:
        raise InputRefusedError("broken_json", f"The body is not JSON: {str(error)[:120]}.") from error


def shown(text: str) -> str:
    """Return the start of what a client wrote, in ASCII, since it may hold half of a surrogate pair."""
    return text[:40].encode("ascii", "backslashreplace").decode()
