"""``/predict`` and ``/predict_batch``."""

from __future__ import annotations

from typing import Any, Final

from serving.model.inputs.image import ImageInputSpec
from serving.model.inputs.text import TextInputSpec
from serving.model.manifest import Manifest
from serving.server.http.docs.operations import BINARY, Operation, json_content, ref
from serving.server.http.predict import MAX_ITEMS

TAG: Final = "prediction"
REFUSALS: Final = frozenset({415, 503})
SHOWN_LABELS: Final = 5
TOP_K: Final = {
    "name": "top_k",
    "in": "query",
    "description": "Answer with so many of the most probable labels only, the most probable first.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
TEXT_EXAMPLE: Final = "What a day!"


def list_prediction(manifest: Manifest) -> list[Operation]:
    """Both operations, for a model's inputs and labels."""
    prediction = prediction_example(manifest)
    refused = {"error": {"code": "empty_input", "message": "The input is empty."}}
    kind = "picture" if isinstance(manifest.input, ImageInputSpec) else "text"
    one, many = _image_bodies() if isinstance(manifest.input, ImageInputSpec) else _text_bodies(manifest.input)
    found = (
        ("/predict", f"Classify one {kind}.", json_content(ref("Prediction"), prediction), one),
        (
            "/predict_batch",
            f"Classify up to {MAX_ITEMS} {kind}s: one prediction or one error each, in their order.",
            json_content(ref("BatchPredictions"), {"predictions": [prediction, refused]}),
            many,
        ),
    )
    common: dict[str, Any] = {"needs_key": True, "parameters": (TOP_K,), "headers": ("Server-Timing",)}
    return [Operation("POST", path, text, content, REFUSALS, TAG, body=body, **common) for path, text, content, body in found]


def prediction_example(manifest: Manifest) -> dict[str, Any]:
    """An answer, with some of the model's labels."""
    labels = manifest.labels[:SHOWN_LABELS]
    others = round(0.1 / (len(labels) - 1), 6)
    return {
        "label": labels[0],
        "probability": 0.9,
        "probabilities": {label: 0.9 if label == labels[0] else others for label in labels},
        "model": {"name": manifest.name, "version": manifest.version, "artifact": manifest.artifacts[0].name},
    }


def _image_bodies() -> tuple[dict[str, Any], dict[str, Any]]:
    raw = {"schema": BINARY}
    one = {"image/*": raw, "application/octet-stream": raw, "multipart/form-data": _form("image", BINARY)}
    return one, {"multipart/form-data": _form("images", {"type": "array", "items": BINARY, "minItems": 1, "maxItems": MAX_ITEMS})}


def _text_bodies(spec: TextInputSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    text = {"type": "string", "minLength": 1, "maxLength": spec.max_characters}
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_ITEMS}
    one = json_content(_object("text", text), {"text": TEXT_EXAMPLE}) | {"text/plain": {"schema": text, "example": TEXT_EXAMPLE}}
    return one, json_content(_object("texts", texts), {"texts": [TEXT_EXAMPLE, "Not again."]})


def _form(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": {field: schema}, "required": [field]}}


def _object(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": False}
