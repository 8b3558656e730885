"""Tensors of the protocol: in JSON, or as bytes after it (its binary tensor data extension)."""

from __future__ import annotations

import binascii
import itertools
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.model.inputs.kind import ArrayTensor, ArrayType
from serving.server.http.bodies import refuse_many, shown

BASE64: Final = "base64"  # a file is no text, and JSON holds nothing else
_DTYPES: Final[dict[ArrayType, str]] = {
    "UINT8": "<u1",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
}
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """An input as it came: nothing but the types of these attributes has been checked.

    Attributes:
        name: Name of the model's input that it is for.
        datatype: The protocol's name of the type, such as ``BYTES``.
        shape: Lengths of at least one dimension, from 0 up.
        data: The list from the JSON, or the bytes from behind it.
        content_type: What the parameter of that name says.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | list[Any]
    content_type: str = "str"

    def refuse(self, reason: str) -> InputRefusedError:
        """Return the refusal of this tensor."""
        return InputRefusedError("bad_tensor", f"Input `{shown(self.name)}`: {reason}")


def read_items(tensor: Tensor) -> list[bytes]:
    """Return the elements of a BYTES tensor of shape [n] or [n, 1].

    Raises:
        InputRefusedError: The shape is another, there is no element or are more than 256, the data is not
            what the shape says, or it is not base64 though it should be.
    """
    if len(tensor.shape) not in {1, 2} or tensor.shape[1:] not in {(), (1,)}:
        raise tensor.refuse("its shape must be [n] or [n, 1].")
    _require_count(tensor)
    if isinstance(tensor.data, memoryview):
        items = _split(tensor, tensor.data)
    else:
        items = [_encode(tensor, value) for value in _flatten(tensor, tensor.data)]
    if tensor.content_type not in {"str", BASE64}:
        raise tensor.refuse("its `content_type` may be `base64` or `str`.")
    if tensor.content_type == BASE64:
        return [_decode_base64(tensor, index, item) for index, item in enumerate(items)]
    return items


def read_array(tensor: Tensor, form: ArrayTensor, item_shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the numbers of a tensor, of its own datatype and shape.

    Args:
        tensor: The tensor.
        form: Its datatype, and what its numbers are.
        item_shape: Shape of one item: the tensor's must be n of them.

    Raises:
        InputRefusedError: The shape is another, there is no item or are more than 256, or the data is not
            what the shape says.
    """
    if len(tensor.shape) != 1 + len(item_shape) or tensor.shape[1:] != item_shape:
        wanted = ", ".join(map(str, ("n", *item_shape)))
        raise tensor.refuse(f"as {form.datatype} its shape must be [{wanted}]: {form.meaning}.")
    _require_count(tensor)
    dtype = np.dtype(_DTYPES[form.datatype])
    if isinstance(tensor.data, memoryview):
        array = _unpack(tensor, tensor.data, dtype)
    else:
        array = _pack(tensor, _flatten(tensor, tensor.data), dtype)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise tensor.refuse("its data must be finite numbers.")
    return array.reshape(tensor.shape)


def join(items: Iterable[bytes]) -> bytes:
    """Return the elements of a BYTES tensor as bytes: each behind its length in 4 bytes, little-endian."""
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def _require_count(tensor: Tensor) -> None:
    if tensor.shape[0] == 0:
        text = f"Input `{shown(tensor.name)}` is empty. Send at least one item."
        raise InputRefusedError("empty_batch", text)
    refuse_many(tensor.shape[0])


def _split(tensor: Tensor, data: memoryview) -> list[bytes]:
    """Undo :func:`join`, for as many elements as the shape says."""
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
        raise tensor.refuse(
            f"{len(data) - start:,} bytes follow the {len(items)} elements that its shape says."
        )
    return items


def _flatten(tensor: Tensor, values: Sequence[Any]) -> Sequence[Any]:
    """Return the elements of JSON data, which may be nested like the shape or flat."""
    for length in tensor.shape[1:]:
        if list not in set(map(type, values)):
            break
        if not all(type(value) is list and len(value) == length for value in values):
            raise tensor.refuse("its data is nested otherwise than its shape.")
        values = list(itertools.chain.from_iterable(values))
    if len(values) != math.prod(tensor.shape):
        raise tensor.refuse(
            f"its shape makes {math.prod(tensor.shape):,} elements, but {len(values):,} came."
        )
    return values


def _unpack(tensor: Tensor, data: memoryview, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(tensor.shape) * dtype.itemsize
    if len(data) != size:
        raise tensor.refuse(f"its shape makes {size:,} bytes, but {len(data):,} came.")
    return np.frombuffer(data, dtype)


def _pack(tensor: Tensor, values: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    is_whole = dtype.kind in "iu"
    if set(map(type, values)) - ({int} if is_whole else {int, float}):
        raise tensor.refuse(f"its data must be {'whole ' if is_whole else ''}numbers.")
    try:
        return np.array(values, dtype)
    except OverflowError as error:
        raise tensor.refuse(f"its data has a number that {tensor.datatype} does not hold.") from error


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
