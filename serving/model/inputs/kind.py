"""A kind of input as one object: how it is decoded, how it travels, and what the page and the client do.

Importing this module, or the object of one of our own kinds, loads neither NumPy nor a library that decodes:
the client needs none of them. What decodes is imported when :attr:`InputKind.open_preprocessor` is called. It
gives a :class:`serving.model.inputs.item.Preprocessor`, whose ``collate`` names the model's ONNX inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from serving.model.files import FileRef

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

    from serving.model.inputs.item import Preprocessor

MAX_ITEMS: Final = 256
"""Number of inputs that one request may hold at most."""


ArrayType = Literal["UINT8", "INT32", "INT64", "FP32", "FP64"]
"""Names of the types of numbers that a tensor of the Open Inference Protocol may have here."""


class InputSpec(BaseModel):
    """How the bytes of one input become the model's input. Each kind adds fields of its own.

    Attributes:
        modality: Name of the kind, by which :func:`serving.model.inputs.registry.find_kind` finds its object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str

    def files(self) -> tuple[FileRef, ...]:
        """Return the files of the bundle that decoding needs, such as a tokenizer."""
        return ()


@dataclass(frozen=True)
class FileBody:
    """Inputs that travel as files: as the raw body of a request, or as files of a multipart form.

    Attributes:
        field: Name of the form's field that holds one file.
        fields: Name of the form's field that is repeated for a batch.
        media_type: Media type, or range of them, of such files, such as ``image/*``.
        example: Content of a small valid file, for the documentation.
    """

    field: str
    fields: str
    media_type: str
    example: bytes


@dataclass(frozen=True)
class JsonBody:
    """Inputs that travel as JSON values: ``{field: value}``, and ``{fields: [value, …]}`` for a batch.

    Attributes:
        field: Key of one value.
        fields: Key of the list of values.
        encode: Turns one JSON value, in the service, into the bytes that the preprocessor decodes. It gets
            the value and its place in the body, such as ``texts[3]``, for messages, and raises
            :class:`serving.model.errors.InputRefusedError`, whose code must be from a closed set.
        describe: Gives the JSON schema of one value, by the bundle's input spec.
        examples: Two valid values, for the documentation.
        shape: One value as people write it, for messages, such as ``"…"``.
        accepts_plain_text: Whether the raw body may be the input itself, as ``text/plain`` in UTF-8.
    """

    field: str
    fields: str
    encode: Callable[[object, str], bytes]
    describe: Callable[[Any], JsonSchemaValue]
    examples: tuple[Any, Any]
    shape: str
    accepts_plain_text: bool = False


@dataclass(frozen=True)
class BytesTensor:
    """Inputs in the Open Inference Protocol as elements of a BYTES tensor, shape [n] or [n, 1].

    Attributes:
        is_text: Whether an element is text, which JSON can hold as it is. Other elements come in JSON as
            base64.
    """

    is_text: bool
    datatype: ClassVar[str] = "BYTES"


@dataclass(frozen=True)
class ArrayTensor:
    """Inputs in the Open Inference Protocol as numbers that are decoded already, shape [n, …].

    Attributes:
        datatype: The protocol's name of the type. Numbers of FP32 and FP64 that are not finite are refused.
        item_shape: Gives the shape of one item, by the bundle's input spec.
        meaning: What the numbers of an item are, for messages.
    """

    datatype: ArrayType
    item_shape: Callable[[Any], tuple[int, ...]]
    meaning: str

    def __post_init__(self) -> None:
        if self.datatype not in get_args(ArrayType):
            raise ValueError(
                f"datatype is {self.datatype!r}, but must be one of {', '.join(get_args(ArrayType))}."
            )


@dataclass(frozen=True)
class FileControl:
    """A control of the page that takes files: chosen, photographed, dropped or pasted.

    Attributes:
        accept: Media types that the browser's file dialog offers.
        has_camera: Whether a phone offers its camera.
    """

    accept: str
    has_camera: bool = False
    control: ClassVar[str] = "file"


@dataclass(frozen=True)
class TextControl:
    """A control of the page that takes typed text.

    Attributes:
        label: Label of the box.
        placeholder: Hint that stands in the empty box.
        is_json: Whether what is typed is a JSON value and not the text itself.
    """

    label: str
    placeholder: str
    is_json: bool = False
    control: ClassVar[str] = "text"


@dataclass(frozen=True)
class InputKind:
    """All that the service and its client know of one kind of input.

    Attributes:
        name: Name of the kind: the ``modality`` of a bundle, and the name of the input tensor.
        noun: What people call one of them, such as ``picture``.
        plural: What people call several.
        invitation: What the page says above the control.
        max_body_bytes: Size of the largest request body, in bytes, unless the service is told otherwise.
        body: How inputs travel in the requests of ``/predict`` and ``/predict_batch``.
        tensors: How inputs travel in the Open Inference Protocol; the model's metadata names the first.
        control: What the page takes them by.
        spec: Class of the input spec.
        open_preprocessor: Opens the preprocessor of an input spec, whose files are in a folder. It raises
            BundleError when one of them is missing or changed.
        bento_service: Import path of the BentoML service that takes this kind, or None where there is none:
            it is then not packaged, but `graft serve` serves it.
        run_elements: Number of elements of decoded inputs, padding included, that the inputs of a batch
            share a run on a CPU up to. None, the default, runs each alone there, as is right where a network
            gains nothing from a batch.
        require_packages: Raises BundleError where what decodes inputs of a spec is not installed, without
            loading it; None, the default, where nothing can be missing.
    """

    name: str
    noun: str
    plural: str
    invitation: str
    max_body_bytes: int
    body: FileBody | JsonBody
    tensors: tuple[BytesTensor | ArrayTensor, ...]
    control: FileControl | TextControl
    spec: type[InputSpec]
    open_preprocessor: Callable[[Any, Path], Preprocessor]
    bento_service: str | None = None
    run_elements: int | None = None
    require_packages: Callable[[Any], None] | None = None


def name_json_type(value: object) -> str:
    """Return JSON's own name of a value's type, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
