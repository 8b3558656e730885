"""A look at a message's bytes before protobuf makes objects of them.

Two bytes can be an empty input tensor or parameter, which takes a hundred bytes in memory. The largest
message that the service takes would so become gigabytes.
"""

from __future__ import annotations

from typing import Final

from serving.model.errors import InputRefusedError

MOST_FIELDS: Final = 4096
# Of ModelInferRequest, parameters, inputs and outputs hold messages; of an input, parameters and contents do.
_INNER: Final[dict[int, dict[int, dict]]] = {4: {}, 5: {4: {}, 5: {}}, 6: {2: {}}}  # type: ignore[type-arg]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


def require_few_fields(raw: bytes) -> None:
    """Refuse a message with more fields than any request has need of.

    Numbers that are packed are one field. Bytes that are no message are left for protobuf to refuse.

    Raises:
        InputRefusedError: There are more than 4,096 fields, or one is a group.
    """
    budget = MOST_FIELDS
    parts = [(0, len(raw), _INNER)]
    while parts:
        at, end, inner = parts.pop()
        while at < end:
            budget -= 1
            if budget < 0:
                text = f"The message has more than {MOST_FIELDS:,} fields. Use raw_input_contents."
                raise InputRefusedError("too_many_fields", text, status=413)
            tag, at = _read_varint(raw, at, end)
            kind = tag & 7
            if kind == _BYTES:
                size, at = _read_varint(raw, at, end)
                if tag >> 3 in inner:
                    parts.append((at, min(end, at + size), inner[tag >> 3]))
                at += size
            elif kind == _VARINT:
                at = _read_varint(raw, at, end)[1]
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
            else:  # groups, which no message has: protobuf would skip them, with all that is in them
                raise InputRefusedError("bad_request", "The message has a field of an unknown kind.")


def _read_varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends; one that does not end takes all that is left."""
    value = 0
    for index, byte in enumerate(raw[at : min(end, at + _LONGEST_VARINT)]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    return value, end
