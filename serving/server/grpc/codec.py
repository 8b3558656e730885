"""Requests and answers of the protocol as protobuf messages, with the same rules as over HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from serving.model.errors import InputRefusedError
from serving.server.grpc.generated.open_inference_grpc_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
    ServerMetadataResponse,
)
from serving.server.handlers.oip.codec import MOST_JSON_VALUES, explain
from serving.server.handlers.oip.inference import Answer
from serving.server.handlers.oip.messages import (
    MOST_DIMENSIONS,
    MOST_TENSORS,
    InferRequest,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
)
from serving.server.handlers.oip.tensors import Tensor, join
from serving.server.http.bodies import shown

_ONLY_RAW: Final = frozenset({"FP16", "BF16"})  # datatypes that have no field of their own
# Where `contents` has the elements of a datatype.
_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
Data = memoryview | list[Any]
Described = dict[str, Any]


def decode_request(message: ModelInferRequest) -> tuple[InferRequest, list[Tensor]]:
    """Read a request.

    Args:
        message: The message.

    Returns:
        The request, and its input tensors with their data.

    Raises:
        InputRefusedError: The protocol does not allow the request.
    """
    data = _read_data(message)
    described = {
        "id": message.id or None,
        "parameters": _read_parameters(message.parameters),
        # One more than is allowed, so that it is refused.
        "inputs": [_describe(each) for each in islice(message.inputs, MOST_TENSORS + 1)],
        "outputs": [
            {"name": each.name, "parameters": _read_parameters(each.parameters)}
            for each in islice(message.outputs, MOST_TENSORS + 1)
        ],
    }
    try:
        request = InferRequest.model_validate(described)
    except ValidationError as error:
        raise explain(error) from error
    tensors = [
        Tensor(each.name, each.datatype, tuple(each.shape), values, each.parameters.content_type)
        for each, values in zip(request.inputs, data, strict=True)
    ]
    return request, tensors


def encode_answer(answer: Answer) -> ModelInferResponse:
    """Write an answer; its tensors are in ``raw_output_contents``."""
    response = answer.response
    return ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id or "",
        parameters={name: _make_parameter(value) for name, value in response.parameters.items()},
        outputs=[
            ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=output.datatype, shape=output.shape
            )
            for output in answer.outputs
        ],
        raw_output_contents=[output.to_bytes() for output in answer.outputs],
    )


def encode_model(metadata: ModelMetadata) -> ModelMetadataResponse:
    """Write what a model takes and gives."""
    return ModelMetadataResponse(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=_encode_tensors(metadata.inputs),
        outputs=_encode_tensors(metadata.outputs),
    )


def encode_server(metadata: ServerMetadata) -> ServerMetadataResponse:
    """Write what the server is."""
    return ServerMetadataResponse(
        name=metadata.name, version=metadata.version, extensions=metadata.extensions
    )


def _encode_tensors(tensors: Iterable[TensorMetadata]) -> list[ModelMetadataResponse.TensorMetadata]:
    return [
        ModelMetadataResponse.TensorMetadata(name=each.name, datatype=each.datatype, shape=each.shape)
        for each in tensors
    ]


def _describe(tensor: ModelInferRequest.InferInputTensor) -> Described:
    """Return an input as the protocol's JSON has it, with its data elsewhere."""
    parameters = _read_parameters(tensor.parameters)
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(islice(tensor.shape, MOST_DIMENSIONS + 1)),
        "parameters": {**parameters, "binary_data_size": 0},
    }


def _read_parameters(parameters: Mapping[str, InferParameter]) -> Described:
    choices = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, choice) for name, (value, choice) in choices.items() if choice}


def _make_parameter(value: object) -> InferParameter:
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    return InferParameter(string_param=str(value))


def _read_data(message: ModelInferRequest) -> list[Data]:
    """Return the data of each input; raises InputRefusedError."""
    inputs, raw = message.inputs, message.raw_input_contents
    if not raw:
        return [_read_contents(each) for each in islice(inputs, MOST_TENSORS + 1)]
    if len(raw) != len(inputs):
        text = f"`raw_input_contents` has {len(raw)} elements, but there are {len(inputs)} inputs."
        raise InputRefusedError("bad_request", text)
    if any(each.HasField("contents") for each in inputs):
        text = "Send data in `raw_input_contents` or in `contents`, not in both."
        raise InputRefusedError("bad_request", text)
    return [memoryview(block) for block in raw]


def _read_contents(tensor: ModelInferRequest.InferInputTensor) -> Data:
    """Return the elements of an input that has them in fields of their type."""
    name, contents = _FIELDS.get(tensor.datatype), tensor.contents
    if name is None and tensor.datatype not in _ONLY_RAW:
        return memoryview(b"")  # what the model takes instead is said where datatypes are
    present = [field.name for field, _ in contents.ListFields()]
    wrong = next((field for field in present if field != name), None)
    if wrong is not None:
        where = f"`{name}`" if name else "`raw_input_contents`"
        text = f"Input `{shown(tensor.name)}`: {shown(tensor.datatype)} comes in {where}, not in `{wrong}`."
        raise InputRefusedError("bad_tensor", text)
    if name is None or not present:
        return memoryview(b"")
    if tensor.datatype == "BYTES":
        return memoryview(join(contents.bytes_contents))
    return _to_list(contents, name, tensor)


def _to_list(
    contents: InferTensorContents, name: str, tensor: ModelInferRequest.InferInputTensor
) -> list[Any]:
    values = getattr(contents, name)
    if len(values) > MOST_JSON_VALUES:
        text = f"`{name}` has more than {MOST_JSON_VALUES:,} values. Send them in `raw_input_contents`."
        raise InputRefusedError("too_many_values", text, status=413)
    # A wrong number of them is refused here: they may be nested no more, so that nothing else looks.
    if len(values) != math.prod(tensor.shape):
        text = f"its shape makes {math.prod(tensor.shape):,} elements, but {len(values):,} came."
        raise InputRefusedError("bad_tensor", f"Input `{shown(tensor.name)}`: {text}")
    return list(values)
