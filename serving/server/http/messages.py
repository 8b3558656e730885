"""Requests and responses of the Open Inference Protocol, as bytes and as values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.server.http.tensors import Tensor, join

HEADER_LENGTH: Final = "inference-header-content-length"
# JSON is read in the thread that answers everybody: what takes it longer than a tenth of a second goes as binary data.
MOST_JSON_BYTES: Final = 16 * 1024 * 1024
MOST_JSON_VALUES: Final = 2_000_000
MOST_DIMENSION: Final = 2**63 - 1
SHARED_MEMORY: Final = "shared_memory_region"


@dataclass(frozen=True)
class Wanted:
    """An output that a request asks for: as bytes or in JSON, and of how many classes if it should be a ranking."""

    name: str
    binary: bool
    classes: int | None = None


@dataclass(frozen=True)
class InferRequest:
    """A request.

    Attributes:
        inputs: Its tensors.
        outputs: What it asks for; empty for all that there is.
        binary: Whether outputs that it does not name come as bytes.
        id: The client's.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Wanted, ...] = ()
    binary: bool = False
    id: str | None = None


@dataclass(frozen=True)
class Output:
    """An output tensor: FP32 of an array, BYTES of strings in the order of rows."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[np.float32] | list[str]
    binary: bool


def decode_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read a request.

    Args:
        body: All of it.
        header_length: The header ``Inference-Header-Content-Length``: how much of the body is JSON; None for all of it.

    Raises:
        InputRefusedError: Anything that the protocol does not allow.
    """
    header, rest = _split(body, header_length)
    document = _require(_parse(header), dict, "The body")
    parameters = _parameters(document, "the request")
    name = document.get("id")
    if name is not None:
        _require_text(name, "`id`")
    inputs, start = [], 0
    for index, value in enumerate(_require(document.get("inputs"), list, "`inputs`")):
        tensor, size = _read_input(_require(value, dict, f"`inputs[{index}]`"), f"inputs[{index}]", rest[start:])
        inputs.append(tensor)
        start += size
    if start != len(rest):
        raise _broken(f"{len(rest) - start:,} bytes follow the data of the inputs.")
    binary = _flag(parameters, "binary_data_output", default=False)
    outputs = _require(document.get("outputs", []), list, "`outputs`")
    return InferRequest(tuple(inputs), tuple(_read_output(value, binary, index) for index, value in enumerate(outputs)), binary, name)


def encode_response(facts: Mapping[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """A response's body.

    Args:
        facts: What it says besides its outputs.
        outputs: Its tensors.

    Returns:
        The body, and how much of it is JSON; None where all of it is.
    """
    described, blocks = [], []
    for output in outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": "BYTES" if isinstance(output.data, list) else "FP32"}
        tensor["shape"] = list(output.shape)
        if output.binary:
            blocks.append(_to_bytes(output.data))
            tensor["parameters"] = {"binary_data_size": len(blocks[-1])}
        else:
            tensor["data"] = output.data if isinstance(output.data, list) else output.data.ravel().tolist()
        described.append(tensor)
    header = json.dumps({**facts, "outputs": described}, ensure_ascii=False).encode()
    return b"".join([header, *blocks]), len(header) if blocks else None


def _to_bytes(data: NDArray[np.float32] | list[str]) -> bytes:
    return join(text.encode() for text in data) if isinstance(data, list) else data.astype("<f4").tobytes()


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON, and what follows it."""
    size = len(body)
    if header_length is not None:
        if not re.fullmatch("[0-9]{1,18}", header_length):
            raise _broken("Inference-Header-Content-Length is not a number.")
        size = int(header_length)
    if size > len(body):
        raise _broken(f"Inference-Header-Content-Length is {size:,}, but the body has {len(body):,} bytes.")
    if size > MOST_JSON_BYTES or body.count(b",", 0, size) > MOST_JSON_VALUES:
        text = f"The JSON has more than {MOST_JSON_BYTES:,} bytes or {MOST_JSON_VALUES:,} values. Send tensors as binary data."
        raise InputRefusedError("json_too_large", text, status=413)
    return body[:size], memoryview(body)[size:]


def _parse(header: bytes) -> object:
    try:
        return json.loads(header.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InputRefusedError("not_utf8", f"The JSON is not UTF-8: {error.reason} at byte {error.start}.") from error
    except RecursionError as error:
        raise InputRefusedError("broken_json", "The JSON is nested too deeply.") from error
    except ValueError as error:
        raise InputRefusedError("broken_json", f"The body does not begin with JSON: {str(error)[:120]}.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read_input(value: dict[str, Any], place: str, rest: memoryview) -> tuple[Tensor, int]:
    """A tensor, and how many bytes of the rest are its own."""
    parameters = _parameters(value, f"`{place}`")
    name, datatype = (_require_text(value.get(key), f"`{place}.{key}`") for key in ("name", "datatype"))
    shape = _require(value.get("shape"), list, f"`{place}.shape`")
    if not shape or not all(type(length) is int and 0 <= length <= MOST_DIMENSION for length in shape):
        raise _broken(f"`{place}.shape` must hold one whole number a dimension, none of them negative.")
    if "binary_data_size" not in parameters:
        return Tensor(name, datatype, tuple(shape), _require(value.get("data"), list, f"`{place}.data`"), parameters), 0
    size = parameters["binary_data_size"]
    if "data" in value:
        raise _broken(f"`{place}` has `data` and `binary_data_size`. Send one of them.")
    if type(size) is not int or not 0 <= size <= len(rest):
        raise _broken(f"`binary_data_size` of `{place}` must be a whole number, and not more than the bytes after the JSON.")
    return Tensor(name, datatype, tuple(shape), rest[:size], parameters), size


def _read_output(value: object, binary: bool, index: int) -> Wanted:  # noqa: FBT001 - the default of what it reads
    place = f"outputs[{index}]"
    document = _require(value, dict, f"`{place}`")
    parameters = _parameters(document, f"`{place}`")
    classes = parameters.get("classification")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise _broken(f"`classification` of `{place}` must be a whole number from 1 up.")
    return Wanted(_require_text(document.get("name"), f"`{place}.name`"), _flag(parameters, "binary_data", default=binary), classes)


def _parameters(document: dict[str, Any], place: str) -> dict[str, Any]:
    parameters: dict[str, Any] = _require(document.get("parameters", {}), dict, f"`parameters` of {place}")
    if SHARED_MEMORY in parameters:
        raise InputRefusedError("no_shared_memory", "Shared memory is not read. Send tensors in the body.")
    return parameters


def _flag(parameters: dict[str, Any], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise _broken(f"`{key}` must be true or false.")
    return value


def _require(value: object, kind: type, place: str) -> Any:  # noqa: ANN401 - of that kind
    if not isinstance(value, kind):
        raise _broken(f"{place} must be {'an object' if kind is dict else 'a list'}.")
    return value


def _require_text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _broken(f"{place} must be a string.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _broken(f"{place} has half of a surrogate pair at position {error.start}.") from error
    return value


def _broken(text: str) -> InputRefusedError:
    return InputRefusedError("bad_request", text)
