"""Tensors as the Open Inference Protocol sends them: in JSON, or as bytes after it (its binary tensor data extension).

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import binascii
import itertools
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.server.bodies.body import refuse_many

BASE64: Final = "base64"  # a picture file is no text, and JSON holds nothing else
CHANNELS: Final = 3
MOST_SHOWN_CHARACTERS: Final = 40
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """An input as it came; nothing but the types of these attributes has been checked.

    Attributes:
        name: Which of the model's inputs it is for.
        datatype: The protocol's name, such as ``BYTES``.
        shape: Of at least one dimension, none of them negative.
        data: The list from the JSON, or bytes from behind it.
        parameters: Its own.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | list[Any]
    parameters: dict[str, Any] = field(default_factory=dict)

    def refuse(self, reason: str) -> InputRefusedError:
        """The refusal for what is wrong with it."""
        return InputRefusedError("bad_tensor", f"Input `{shown(self.name)}`: {reason}")


def shown(text: str) -> str:
    """What a client wrote, for a message: the start of it, in ASCII, since it may hold half of a surrogate pair."""
    return text[:MOST_SHOWN_CHARACTERS].encode("ascii", "backslashreplace").decode()


def read_items(tensor: Tensor, max_items: int) -> list[bytes]:
    """The elements of a BYTES tensor of shape [n] or [n, 1].

    Raises:
        InputRefusedError: Another shape, none or more than ``max_items`` elements, other data than the shape says, not base64.
    """
    if len(tensor.shape) not in {1, 2} or tensor.shape[1:] not in {(), (1,)}:
        raise tensor.refuse("its shape must be [n] or [n, 1].")
    _require_count(tensor, max_items)
    data = tensor.data
    items = _split(tensor, data) if isinstance(data, memoryview) else [_encode(tensor, value) for value in _flatten(tensor, data)]
    content = tensor.parameters.get("content_type", "str")
    if not isinstance(content, str) or content not in {"str", BASE64}:
        raise tensor.refuse("its `content_type` may be `base64` or `str`.")
    return [_decode_base64(tensor, index, item) for index, item in enumerate(items)] if content == BASE64 else items


def read_pixels(tensor: Tensor, height: int, width: int, max_items: int) -> NDArray[np.uint8]:
    """Pixels, uint8 of shape (n, height, width, 3), of a UINT8 tensor of that shape.

    Raises:
        InputRefusedError: Another shape, none or more than ``max_items`` pictures, other data than the shape says.
    """
    if len(tensor.shape) != 4 or tensor.shape[1:] != (height, width, CHANNELS):
        raise tensor.refuse(f"as UINT8 its shape must be [n, {height}, {width}, {CHANNELS}]: RGB, of the model's size.")
    _require_count(tensor, max_items)
    data = tensor.data if isinstance(tensor.data, memoryview) else _pack(tensor, _flatten(tensor, tensor.data))
    if len(data) != math.prod(tensor.shape):
        raise tensor.refuse(f"its shape makes {math.prod(tensor.shape):,} bytes, but {len(data):,} came.")
    return np.frombuffer(data, np.uint8).reshape(tensor.shape)


def join(items: Iterable[bytes]) -> bytes:
    """Elements of a BYTES tensor as bytes: each behind its length in 4 of them, little-endian."""
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def _require_count(tensor: Tensor, max_items: int) -> None:
    if tensor.shape[0] == 0:
        raise InputRefusedError("empty_batch", f"Input `{shown(tensor.name)}` is empty. Send at least one item.")
    refuse_many(tensor.shape[0], max_items)


def _split(tensor: Tensor, data: memoryview) -> list[bytes]:
    """The inverse of :func:`join`, for as many elements as the shape says."""
    items, start = [], 0
    for index in range(tensor.shape[0]):
        if len(data) - start < _LENGTH.size:
            raise tensor.refuse(f"its bytes end before the length of element {index}.")
        end = start + _LENGTH.size + _LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            raise tensor.refuse(f"its bytes end before element {index} does.")
        items.append(bytes(data[start + _LENGTH.size : end]))
        start = end
    if start != len(data):
        raise tensor.refuse(f"{len(data) - start:,} bytes follow the {len(items)} elements that its shape says.")
    return items


def _flatten(tensor: Tensor, values: Sequence[Any]) -> Sequence[Any]:
    """The elements of JSON data, which may be nested like the shape or flat."""
    for length in tensor.shape[1:]:
        if list not in set(map(type, values)):
            break
        if not all(type(value) is list and len(value) == length for value in values):
            raise tensor.refuse("its data is nested otherwise than its shape.")
        values = list(itertools.chain.from_iterable(values))
    if len(values) != math.prod(tensor.shape):
        raise tensor.refuse(f"its shape makes {math.prod(tensor.shape):,} elements, but {len(values):,} came.")
    return values


def _pack(tensor: Tensor, values: Sequence[Any]) -> bytes:
    if set(map(type, values)) - {int}:
        raise tensor.refuse("its data must be whole numbers.")
    try:
        return bytes(values)
    except ValueError as error:
        raise tensor.refuse("its data must be from 0 to 255.") from error


def _encode(tensor: Tensor, value: object) -> bytes:
    if not isinstance(value, str):
        raise tensor.refuse("its data must be strings.")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise tensor.refuse("a string in its data has half of a surrogate pair.") from error


def _decode_base64(tensor: Tensor, index: int, item: bytes) -> bytes:
    try:
        return binascii.a2b_base64(item, strict_mode=True)
    except ValueError as error:
        raise tensor.refuse(f"element {index} is not base64.") from error
