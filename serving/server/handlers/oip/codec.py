"""Requests and responses of the protocol as bytes: JSON, and binary data behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from serving.model.errors import InputRefusedError
from serving.server.handlers.oip.messages import (
    NO_SHARED_MEMORY,
    InferRequest,
    InferResponse,
    RequestTensor,
    ResponseTensor,
)
from serving.server.handlers.oip.tensors import Tensor, join
from serving.server.http.bodies import parse_json, shown

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
# JSON is read in the thread that answers everybody: what takes it longer than a tenth of a second must come
# as binary data.
MOST_JSON_BYTES: Final = 16 * 1024 * 1024
MOST_JSON_VALUES: Final = 2_000_000


@dataclass(frozen=True)
class Output:
    """An output tensor: FP32 of an array, or BYTES of strings in the order of rows; as bytes or in JSON."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[np.float32] | list[str]
    is_binary: bool

    @property
    def datatype(self) -> Literal["BYTES", "FP32"]:
        """The protocol's name of the type."""
        return "BYTES" if isinstance(self.data, list) else "FP32"

    def to_bytes(self) -> bytes:
        """Return the data as the protocol's binary form, row by row and little-endian."""
        data = self.data
        return (
            join(text.encode() for text in data) if isinstance(data, list) else data.astype("<f4").tobytes()
        )


def decode_request(body: bytes, header_length: str | None) -> tuple[InferRequest, list[Tensor]]:
    """Read a request.

    Args:
        body: The whole body.
        header_length: Value of the header ``Inference-Header-Content-Length``: how many bytes of the body are
            JSON; None for all of it.

    Returns:
        The request, and its input tensors with their data.

    Raises:
        InputRefusedError: The protocol does not allow the request.
    """
    header, rest = _split(body, header_length)
    try:
        request = InferRequest.model_validate(parse_json(header, _refuse_constant))
    except ValidationError as error:
        raise explain(error) from error
    tensors, start = [], 0
    for index, described in enumerate(request.inputs):
        size = described.parameters.binary_data_size or 0
        if size > len(rest) - start:
            raise _broken(f"`binary_data_size` of `inputs[{index}]` is more than the bytes after the JSON.")
        tensors.append(_attach(described, rest[start : start + size]))
        start += size
    if start != len(rest):
        raise _broken(f"{len(rest) - start:,} bytes follow the data of the inputs.")
    return request, tensors


def encode_response(response: InferResponse, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Write a response.

    Args:
        response: All of it but its outputs.
        outputs: Its output tensors.

    Returns:
        The body, and how many bytes of it are JSON; None where all of it is.
    """
    blocks = [output.to_bytes() for output in outputs if output.is_binary]
    sizes = iter([len(block) for block in blocks])
    tensors = tuple(
        ResponseTensor(
            name=output.name,
            datatype=output.datatype,
            shape=output.shape,
            parameters={"binary_data_size": next(sizes)} if output.is_binary else None,
            data=None if output.is_binary else _to_list(output.data),
        )
        for output in outputs
    )
    header = response.model_copy(update={"outputs": tensors}).to_bytes()
    return b"".join([header, *blocks]), len(header) if blocks else None


def _attach(described: RequestTensor, block: memoryview) -> Tensor:
    data = block if described.data is None else described.data
    content_type = described.parameters.content_type
    return Tensor(described.name, described.datatype, tuple(described.shape), data, content_type)


def _to_list(data: NDArray[np.float32] | list[str]) -> list[float] | list[str]:
    return data if isinstance(data, list) else data.ravel().tolist()


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON, and what follows it."""
    size = len(body)
    if header_length is not None:
        if not re.fullmatch("[0-9]{1,18}", header_length):
            raise _broken(f"{HEADER_LENGTH} is not a number.")
        size = int(header_length)
    if size > len(body):
        raise _broken(f"{HEADER_LENGTH} is {size:,}, but the body has {len(body):,} bytes.")
    if size > MOST_JSON_BYTES or body.count(b",", 0, size) > MOST_JSON_VALUES:
        limits = f"{MOST_JSON_BYTES:,} bytes or {MOST_JSON_VALUES:,} values"
        text = f"The JSON has more than {limits}. Send tensors as binary data."
        raise InputRefusedError("json_too_large", text, status=413)
    return body[:size], memoryview(body)[size:]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def explain(error: ValidationError) -> InputRefusedError:
    """Return the first thing that pydantic found in a request, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(f"[{part}]" if isinstance(part, int) else shown(part) for part in first["loc"])
    reason = (
        "must be an object" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
    )
    text = f"`{place.replace('.[', '[') or 'the body'}`: {reason}."
    if first["type"] == NO_SHARED_MEMORY:
        return InputRefusedError(NO_SHARED_MEMORY, reason)
    return _broken(text)


def _broken(text: str) -> InputRefusedError:
    return InputRefusedError("bad_request", text)
