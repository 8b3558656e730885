"""What is sent: requests built from inputs of any kind, for both clients."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from serving.client.address import check_header
from serving.model.inputs.kind import MAX_ITEMS, FileBody, InputKind

File = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO
Picture = File

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Ask:
    """One request, apart from where it goes.

    Args:
        path: Path below the service's address.
        method: HTTP method.
        options: The rest of the request, as httpx takes it.
        request_id: Value of ``X-Request-ID``, the same with every attempt.
    """

    path: str
    method: str
    options: Mapping[str, Any]
    request_id: str

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for ``httpx.Client.request``, apart from the timeout."""
        headers = {"X-Request-ID": self.request_id} | self.options.get("headers", {})
        return {**self.options, "method": self.method, "url": self.path, "headers": headers}


def ask_one(
    kind: InputKind,
    value: Any,  # noqa: ANN401 - each kind's own
    top_k: int | None,
    request_id: str | None,
) -> Ask:
    """Build the request to classify one input: the raw body of a file, or JSON of a value."""
    if isinstance(kind.body, FileBody):
        content, headers = read_file(value, kind.noun), {"Content-Type": "application/octet-stream"}
        return _ask("/predict", top_k, request_id, content=content, headers=headers)
    return _ask("/predict", top_k, request_id, **_json({kind.body.field: value}))


def ask_many(kind: InputKind, values: Sequence[Any], top_k: int | None, request_id: str | None) -> Ask:
    """Build the request to classify inputs: a form with one field, repeated, or JSON of a list."""
    field = kind.body.fields
    if isinstance(kind.body, FileBody):
        files = [(field, (str(index), item, "application/octet-stream")) for index, item in enumerate(values)]
        return _ask("/predict_batch", top_k, request_id, files=files)
    return _ask("/predict_batch", top_k, request_id, **_json({field: values}))


def ask_readiness() -> Ask:
    """Build the question whether the service can predict."""
    return Ask("/readyz", "GET", {}, uuid.uuid4().hex)


def split(kind: InputKind, values: Iterable[Any]) -> Iterator[list[Any]]:
    """Split inputs into parts that one request can carry. A file is read only when its part is asked for.

    Raises:
        TypeError: A single input was given, whose bytes or characters would be taken for inputs.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"Give a list of {kind.plural}; one {kind.noun} alone is not one.")
    # Half of the largest body that the service takes by default: it counts what stands around the inputs too.
    max_bytes = kind.max_body_bytes // 2
    if isinstance(kind.body, FileBody):
        return _split((read_file(value, kind.noun) for value in values), len, max_bytes)
    return _split(values, lambda value: len(json.dumps(value)), max_bytes)


def read_file(value: File, noun: str) -> bytes:
    """Return the bytes of one file.

    Args:
        value: Content, path or open file.
        noun: What people call it, for messages.

    Raises:
        TypeError: The value is none of these. A string is never taken for a path.
        OSError: The file cannot be read.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, os.PathLike):
        return Path(value).read_bytes()
    content = value.read() if hasattr(value, "read") else None
    if not isinstance(content, bytes):
        accepted = "bytes, a pathlib.Path or a file opened with 'rb'"
        text = f"A {noun} is {accepted}, not {type(value).__name__}. A string is not taken for a path."
        raise TypeError(text)
    return content


def _ask(path: str, top_k: int | None, request_id: str | None, **options: Any) -> Ask:  # noqa: ANN401 - httpx
    if top_k is not None:
        options["params"] = {"top_k": top_k}
    named = uuid.uuid4().hex if request_id is None else check_header("request_id", request_id)
    return Ask(path, "POST", options, named)


def _json(value: object) -> dict[str, Any]:
    # ASCII with escapes carries half of a surrogate pair too, so that the service can say what is wrong with
    # it.
    return {"content": json.dumps(value).encode(), "headers": {"Content-Type": "application/json"}}


def _split(items: Iterable[_Item], weigh: Callable[[_Item], int], max_bytes: int) -> Iterator[list[_Item]]:
    part: list[_Item] = []
    total = 0
    for item in items:
        weight = weigh(item)
        if part and (len(part) == MAX_ITEMS or total + weight > max_bytes):
            yield part
            part, total = [], 0
        part.append(item)
        total += weight
    if part:
        yield part
