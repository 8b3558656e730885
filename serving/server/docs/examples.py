"""Examples made from a bundle: its inputs, its labels, its artifacts."""

from __future__ import annotations

import base64
import math
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

from serving.model.inputs.kind import MAX_ITEMS, ArrayTensor, FileBody, InputKind, JsonBody
from serving.model.manifest import Manifest
from serving.model.schemas import BatchPredictions, ModelInfo, Prediction
from serving.server.handlers.about import Live, Ready
from serving.server.handlers.oip.inference import EXTENSIONS, LABEL, PROBABILITIES, describe_model
from serving.server.handlers.oip.messages import (
    InferRequest,
    InferResponse,
    ModelReady,
    ResponseTensor,
    ServerMetadata,
    ServerReady,
)
from serving.server.handlers.oip.tensors import BASE64
from serving.server.http.bodies import JSON, MULTIPART, PLAIN

BINARY: Final = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
SHOWN_LABELS: Final = 5
REFUSED: Final = {"error": {"code": "empty_input", "message": "The input is empty."}}


def list_answers(manifest: Manifest, kind: InputKind) -> list[BaseModel]:
    """Return an example of each JSON answer."""
    artifact = manifest.artifacts[0]
    model = ModelInfo(name=manifest.name, version=manifest.version, artifact=artifact.name)
    labels = manifest.labels[:SHOWN_LABELS]
    shares = [0.9] + [round(0.1 / (len(labels) - 1), 6)] * (len(labels) - 1)
    probabilities = dict(zip(labels, shares, strict=True))
    prediction = Prediction(label=labels[0], probability=0.9, probabilities=probabilities, model=model)
    count = len(manifest.labels)
    certain = [1.0] + [0.0] * (count - 1)
    outputs = (
        ResponseTensor(name=PROBABILITIES, datatype="FP32", shape=(1, count), data=certain),
        ResponseTensor(name=LABEL, datatype="BYTES", shape=(1,), data=[labels[0]]),
    )
    parameters = {"artifact": artifact.name}
    return [
        prediction,
        BatchPredictions.model_validate({"predictions": [prediction.to_json(), REFUSED]}),
        Live(),
        Ready(model=model),
        ServerReady(),
        ServerMetadata(name="graft", version="0.1.0", extensions=EXTENSIONS),
        describe_model(manifest, kind, artifact.runtime),
        ModelReady(name=manifest.name),
        InferResponse(
            model_name=model.name, model_version=model.version, parameters=parameters, outputs=outputs
        ),
    ]


def make_bodies(manifest: Manifest, kind: InputKind) -> dict[str, JsonSchemaValue]:
    """Return OpenAPI's content of each request body: of ``one`` input, of ``many``, and of ``infer``."""
    body = kind.body
    one, many = _make_forms(body) if isinstance(body, FileBody) else _make_objects(body, manifest)
    schema = {"$ref": f"#/components/schemas/{InferRequest.__name__}"}
    return {
        "one": one,
        "many": many,
        "infer": {JSON: {"schema": schema, "example": _make_message(manifest, kind)}},
    }


def _make_forms(body: FileBody) -> tuple[JsonSchemaValue, JsonSchemaValue]:
    raw, several = (
        {"schema": BINARY},
        {"type": "array", "items": BINARY, "minItems": 1, "maxItems": MAX_ITEMS},
    )
    one = {"schema": _object(body.field, BINARY)}
    return (
        {body.media_type: raw, "application/octet-stream": raw, MULTIPART: one},
        {MULTIPART: {"schema": _object(body.fields, several)}},
    )


def _make_objects(body: JsonBody, manifest: Manifest) -> tuple[JsonSchemaValue, JsonSchemaValue]:
    value = body.describe(manifest.input)
    values = {"type": "array", "items": value, "minItems": 1, "maxItems": MAX_ITEMS}
    first = body.examples[0]
    one = {JSON: {"schema": _closed(body.field, value), "example": {body.field: first}}}
    if body.accepts_plain_text:
        one[PLAIN] = {"schema": value, "example": first}
    return one, {JSON: {"schema": _closed(body.fields, values), "example": {body.fields: [*body.examples]}}}


def _make_message(manifest: Manifest, kind: InputKind) -> JsonSchemaValue:
    """Return a request of the Open Inference Protocol."""
    form = kind.tensors[0]
    tensor: JsonSchemaValue = {"name": kind.name, "shape": [1], "datatype": form.datatype}
    if isinstance(form, ArrayTensor):
        item_shape = form.item_shape(manifest.input)
        tensor |= {"shape": [1, *item_shape], "data": [0] * math.prod(item_shape)}
        return {"inputs": [tensor]}
    body = kind.body
    item = body.example if isinstance(body, FileBody) else body.encode(body.examples[0], body.field)
    if form.is_text:
        tensor["data"] = [item.decode()]
    else:
        tensor |= {"parameters": {"content_type": BASE64}, "data": [base64.b64encode(item).decode()]}
    return {"inputs": [tensor]}


def _object(key: str, schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"type": "object", "properties": {key: schema}, "required": [key]}


def _closed(key: str, schema: JsonSchemaValue) -> JsonSchemaValue:
    return _object(key, schema) | {"additionalProperties": False}
