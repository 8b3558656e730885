"""Messages of the protocol: pydantic models that read and write them, and give OpenAPI its schemas."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError

from serving.model.schemas import Body

NO_SHARED_MEMORY: Final = "no_shared_memory"
# Reading stops at the first fault, and lists have an end: a small request of many faults must cost little.
MOST_TENSORS: Final = 64
MOST_DIMENSIONS: Final = 16
_ANNOTATIONS: Final = frozenset({"default", "description", "title"})
Dimension = Annotated[int, Field(ge=0, le=2**63 - 1)]
Shape = Annotated[list[Dimension], FailFast(), Field(min_length=1, max_length=MOST_DIMENSIONS)]


def _require_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has half of a surrogate pair at position {error.start}") from error
    return text


Text = Annotated[str, AfterValidator(_require_unicode)]
"""A string that can be written as UTF-8; JSON's escapes can make one that cannot."""


def _describe_null(schema: JsonSchemaValue) -> None:
    """Let a schema say that null stands for a key that may be absent."""
    for name, described in schema.get("properties", {}).items():
        if name not in schema.get("required", ()) and {"type": "null"} not in described.get("anyOf", ()):
            own = {key: described.pop(key) for key in [*described] if key not in _ANNOTATIONS}
            described["anyOf"] = [own, {"type": "null"}]


class _Read(BaseModel):
    """A part of a request: values keep their JSON type, and what the protocol does not know is ignored.

    Null is an absent key, as serializers write one that they have no value for.
    """

    model_config = ConfigDict(frozen=True, strict=True, json_schema_extra=_describe_null)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_null(cls, value: object) -> object:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


class _Parameters(_Read):
    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _refuse_shared_memory(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("shared_memory_region") is not None:
            text = "Shared memory is not read. Send tensors in the body."
            raise PydanticCustomError(NO_SHARED_MEMORY, "{text}", {"text": text})
        return value


class RequestParameters(_Parameters):
    """Parameters of a request."""

    binary_data_output: bool = Field(
        default=False, description="Whether outputs that the request does not name come as binary data."
    )


class InputParameters(_Parameters):
    """Parameters of an input tensor."""

    binary_data_size: int | None = Field(
        default=None, ge=0, description="Bytes after the JSON that are the tensor's; it then has no data."
    )
    content_type: Text = Field(
        default="str", description="base64 where the elements of a BYTES tensor are base64, else str."
    )


class OutputParameters(_Parameters):
    """Parameters of a requested output."""

    binary_data: bool | None = Field(
        default=None, description="Whether it comes as binary data; by default what the request says for all."
    )
    classification: int | None = Field(
        default=None,
        ge=1,
        description="Number of classes to rank, instead of all probabilities.",
    )


class RequestTensor(_Read):
    """An input tensor, with data or with the parameter binary_data_size."""

    name: Text
    datatype: Text
    shape: Shape
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None

    @model_validator(mode="after")
    def _has_data_in_one_place(self) -> RequestTensor:
        if (self.data is None) == (self.parameters.binary_data_size is None):
            raise ValueError("needs either `data` or the parameter `binary_data_size`")
        return self


class RequestOutput(_Read):
    """An output that a request asks for."""

    name: Text
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Read):
    """A request; without outputs it asks for all that there are."""

    id: Text | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[RequestTensor], FailFast(), Field(max_length=MOST_TENSORS)]
    outputs: Annotated[list[RequestOutput], FailFast(), Field(max_length=MOST_TENSORS)] = []


class TensorMetadata(Body):
    """An input or an output of a model; -1 in its shape is any number."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(Body):
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ServerMetadata(Body):
    """What the server is, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ServerReady(Body):
    """Requests are answered."""

    ready: Literal[True] = True


class ModelReady(Body):
    """The named model answers."""

    name: str
    ready: Literal[True] = True


class ResponseTensor(Body):
    """An output tensor, with data or with the parameter binary_data_size."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: tuple[int, ...]
    parameters: dict[str, Any] | None = None
    data: list[float] | list[str] | None = None


class InferResponse(Body):
    """A response; its parameters name the artifact that answered, and count the items that were truncated."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: tuple[ResponseTensor, ...]
