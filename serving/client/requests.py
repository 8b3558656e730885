"""What is sent: requests built from pictures and texts, for both clients."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from serving.client.address import check_header

Picture = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO
MAX_ITEMS = 256
MAX_PICTURES_BYTES = 32 * 1024 * 1024
MAX_TEXTS_BYTES = 4 * 1024 * 1024
"""Half of the largest body that the service takes by default: it counts the form around the pictures too."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Ask:
    """One request, apart from where it goes.

    Args:
        path: Below the service's address.
        method: Of HTTP.
        options: The rest of it, as httpx takes it.
        request_id: Sent as ``X-Request-ID``, the same with every attempt.
    """

    path: str
    method: str
    options: Mapping[str, Any]
    request_id: str

    def arguments(self) -> dict[str, Any]:
        """For ``httpx.Client.request``, apart from the timeout."""
        headers = {"X-Request-ID": self.request_id} | self.options.get("headers", {})
        return {**self.options, "method": self.method, "url": self.path, "headers": headers}


def ask_picture(picture: Picture, top_k: int | None, request_id: str | None) -> Ask:
    """One picture as a raw body; raises what reading it raises."""
    return _ask("/predict", top_k, request_id, content=read_picture(picture), headers={"Content-Type": "application/octet-stream"})


def ask_pictures(pictures: Sequence[bytes], top_k: int | None, request_id: str | None) -> Ask:
    """Pictures as a form with one field, repeated."""
    files = [("images", (str(index), picture, "application/octet-stream")) for index, picture in enumerate(pictures)]
    return _ask("/predict_batch", top_k, request_id, files=files)


def ask_text(text: str, top_k: int | None, request_id: str | None) -> Ask:
    """One text as JSON."""
    return _ask("/predict", top_k, request_id, **_json({"text": text}))


def ask_texts(texts: Sequence[str], top_k: int | None, request_id: str | None) -> Ask:
    """Texts as JSON."""
    return _ask("/predict_batch", top_k, request_id, **_json({"texts": texts}))


def ask_readiness() -> Ask:
    """The question whether the service can predict."""
    return Ask("/readyz", "GET", {}, uuid.uuid4().hex)


def split_pictures(pictures: Iterable[Picture]) -> Iterator[list[bytes]]:
    """Pictures in parts that one request can carry, each read only when its part is asked for."""
    return _split((read_picture(picture) for picture in pictures), len, MAX_PICTURES_BYTES)


def split_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in parts that one request can carry; raises TypeError for a single text, whose letters would become texts."""
    if isinstance(texts, str):
        raise TypeError("Give a list of texts, or one text to predict_text.")
    return _split(texts, lambda text: len(json.dumps(text)), MAX_TEXTS_BYTES)


def read_picture(picture: Picture) -> bytes:
    """The bytes of one picture.

    Raises:
        TypeError: Anything but bytes, a path object or a file opened for bytes.
        OSError: The file cannot be read.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, os.PathLike):
        return Path(picture).read_bytes()
    content = picture.read() if hasattr(picture, "read") else None
    if not isinstance(content, bytes):
        kind = type(picture).__name__
        raise TypeError(f"A picture is bytes, a pathlib.Path or a file opened with 'rb', not {kind}. A string is not taken for a path.")
    return content


def _ask(path: str, top_k: int | None, request_id: str | None, **options: Any) -> Ask:  # noqa: ANN401 - httpx's own arguments
    if top_k is not None:
        options["params"] = {"top_k": top_k}
    return Ask(path, "POST", options, uuid.uuid4().hex if request_id is None else check_header("request_id", request_id))


def _json(value: object) -> dict[str, Any]:
    # ASCII with escapes carries half of a surrogate pair too, so that it is the service that says what is wrong with it.
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
