"""``/v2``: the Open Inference Protocol."""

from __future__ import annotations

from typing import Any, Final

from serving.model.inputs.image import ImageInputSpec
from serving.model.manifest import Manifest
from serving.server.http.docs.operations import BINARY, Operation, json_content, ref
from serving.server.http.docs.prediction import TEXT_EXAMPLE
from serving.server.http.docs.service import LIVE, UNREADY
from serving.server.http.inference import EXTENSIONS, LABEL, PROBABILITIES, describe_model
from serving.server.http.predict import MAX_ITEMS

TAG: Final = "open inference protocol"
FOUND_OR_NOT: Final = frozenset({404, 503})
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
HEADER_LENGTH_PARAMETER: Final = {
    "name": HEADER_LENGTH,
    "in": "header",
    "description": "How many bytes of the body are JSON, where binary data follows.",
    "schema": {"type": "integer", "minimum": 0},
}
ONE_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
PARAMETERS: Final = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
SHAPE: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def list_inference(manifest: Manifest) -> list[Operation]:
    """All operations of the protocol, for a model."""
    versioned = (_constant("name", manifest.name), _constant("version", manifest.version))
    server = {"name": "graft", "version": "0.1.0", "extensions": list(EXTENSIONS)}
    operations = [
        Operation("GET", "/v2/health/live", "Whether the process answers.", LIVE, tag=TAG),
        Operation(
            "GET", "/v2/health/ready", "Whether requests are answered.", json_content(ref("ServerReady"), {"ready": True}), UNREADY, TAG
        ),
        Operation("GET", "/v2", "What the server is.", json_content(ref("ServerMetadata"), server), tag=TAG, needs_key=True),
    ]
    for path, constants in (("/v2/models/{name}", versioned[:1]), ("/v2/models/{name}/versions/{version}", versioned)):
        operations += _list_of_model(path, constants, manifest)
    return operations


def _list_of_model(path: str, constants: tuple[dict[str, Any], ...], manifest: Manifest) -> list[Operation]:
    model = json_content(ref("ModelMetadata"), describe_model(manifest, manifest.artifacts[0].runtime))
    ready = json_content(ref("ModelReady"), {"name": manifest.name, "ready": True})
    binary = {"application/octet-stream": {"schema": BINARY}}
    return [
        Operation("GET", path, "What the model takes and gives.", model, FOUND_OR_NOT, TAG, needs_key=True, parameters=constants),
        Operation("GET", f"{path}/ready", "Whether the model answers.", ready, FOUND_OR_NOT, TAG, parameters=constants),
        Operation(
            "POST",
            f"{path}/infer",
            f"Classify up to {MAX_ITEMS} items. One that is refused refuses all.",
            json_content(ref("InferResponse"), _response_example(manifest)) | binary,
            FOUND_OR_NOT | {415},
            TAG,
            needs_key=True,
            parameters=(*constants, HEADER_LENGTH_PARAMETER),
            body=json_content(ref("InferRequest"), _request_example(manifest)) | binary,
            headers=("Server-Timing", HEADER_LENGTH),
        ),
    ]


def infer_schemas(manifest: Manifest) -> dict[str, Any]:
    """Schemas of its requests and answers."""
    text, metadata = {"type": "string"}, {"name": {"type": "string"}, "datatype": {"type": "string"}}
    tensor = _object(metadata | {"shape": {"type": "array", "items": {"type": "integer", "minimum": -1}}})
    output = _object(metadata | {"shape": SHAPE}) | {"description": "With `data`, or with the parameter `binary_data_size`."}
    output["properties"] |= {"data": {"type": "array"}, "parameters": PARAMETERS}
    response = _object({"model_name": text, "model_version": text, "outputs": {"type": "array", "items": output}})
    response["properties"] |= {"id": text, "parameters": PARAMETERS}
    tensors = {"type": "array", "items": tensor}
    return {
        "InferenceError": _object({"error": text, "code": text}),
        "ServerReady": _object({"ready": {"const": True}}),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": {"type": "array", "items": text}}),
        "ModelMetadata": _object(
            {"name": text, "versions": {"type": "array", "items": text}, "platform": text, "inputs": tensors, "outputs": tensors}
        ),
        "ModelReady": _object({"name": text, "ready": {"const": True}}),
        "InferRequest": _request_schema(manifest),
        "InferResponse": response,
    }


def _request_schema(manifest: Manifest) -> dict[str, Any]:
    is_image = isinstance(manifest.input, ImageInputSpec)
    item = _object({"name": {"const": manifest.input.modality}, "datatype": {"enum": ["BYTES", "UINT8"] if is_image else ["BYTES"]}})
    item["properties"] |= {"shape": SHAPE, "parameters": PARAMETERS, "data": {"type": "array"}}
    item["required"] = ["name", "shape", "datatype"]
    output = _object({"name": {"enum": [PROBABILITIES, LABEL]}})
    flag = {"type": "boolean"}
    known = {"binary_data": flag, "classification": {"type": "integer", "minimum": 1}}
    output["properties"] |= {"parameters": {"type": "object", "properties": known}}
    request = _object({"inputs": {"type": "array", "items": item, "minItems": 1, "maxItems": 1}})
    request["properties"] |= {
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"binary_data_output": flag}},
        "outputs": {"type": "array", "items": output},
    }
    return request


def _request_example(manifest: Manifest) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": manifest.input.modality, "shape": [1], "datatype": "BYTES"}
    if isinstance(manifest.input, ImageInputSpec):
        return {"inputs": [tensor | {"parameters": {"content_type": "base64"}, "data": [ONE_PIXEL]}]}
    return {"inputs": [tensor | {"data": [TEXT_EXAMPLE]}]}


def _response_example(manifest: Manifest) -> dict[str, Any]:
    count = len(manifest.labels)
    return {
        "model_name": manifest.name,
        "model_version": manifest.version,
        "parameters": {"artifact": manifest.artifacts[0].name},
        "outputs": [
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [1, count], "data": [1.0] + [0.0] * (count - 1)},
            {"name": LABEL, "datatype": "BYTES", "shape": [1], "data": [manifest.labels[0]]},
        ],
    }


def _constant(name: str, value: str) -> dict[str, Any]:
    """A part of the path; any other is a 404."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
