"""Requests as bytes, made from a run's test split, so that the load generator only has to write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.files.layout import RunFolder
from pipeline.files.samples import read_samples

BOUNDARY = "a-line-that-no-picture-holds"


def read_inputs(run: Path, most: int) -> list[bytes]:
    """Read at most so many pictures or texts of the test split of a run."""
    return [
        sample.read()
        for sample in [sample for sample in read_samples(RunFolder(run)) if sample.split == "test"][:most]
    ]


def http_request(body: bytes, content_type: str, path: str = "/predict") -> bytes:
    """Return the bytes of a POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def form_request(picture: bytes) -> bytes:
    """Return the request with a picture as the file `image` of a form."""
    disposition = 'Content-Disposition: form-data; name="image"; filename="picture"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    return http_request(body, f"multipart/form-data; boundary={BOUNDARY}")


def raw_request(picture: bytes) -> bytes:
    """Return the request with a picture as the body itself."""
    return http_request(picture, "application/octet-stream")


def json_request(text: bytes) -> bytes:
    """Return the request with a text as the key `text` of JSON."""
    return http_request(json.dumps({"text": text.decode()}).encode(), "application/json")


def common_request(modality: str, item: bytes) -> bytes:
    """Return the request that our service and all peers understand."""
    return form_request(item) if modality == "image" else json_request(item)


def hostile_requests(modality: str, item: bytes) -> list[bytes]:
    """Return requests that a service must refuse, and outlive.

    They are an input cut in half, no input, and an unknown path.
    """
    content_type = "application/octet-stream" if modality == "image" else "application/json"
    cut = item[: len(item) // 2] if modality == "image" else b'{"text": "cut o'
    return [
        http_request(cut, content_type),
        http_request(b"", content_type),
        http_request(item, content_type, path="/no-such-path"),
    ]


def write_requests(folder: Path, requests: Sequence[bytes]) -> Path:
    """Write each request to a file of its own, for the process of the load generator."""
    folder.mkdir()
    for index, request in enumerate(requests):
        (folder / f"{index:05}.http").write_bytes(request)
    return folder
