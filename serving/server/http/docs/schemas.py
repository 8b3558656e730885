"""Schemas of the service's own answers."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from serving.model.schemas import BatchPredictions, ErrorBody, ModelInfo, Prediction

REF: Final = "#/components/schemas/{model}"


def _describe_bodies() -> dict[str, Any]:
    models = (Prediction, BatchPredictions, ErrorBody, ModelInfo)
    _, described = models_json_schema([(model, "serialization") for model in models], ref_template=REF)
    found: dict[str, Any] = described["$defs"]
    return found


BODY_SCHEMAS: Final = {
    **_describe_bodies(),
    "Live": {"type": "object", "properties": {"live": {"const": True}}, "required": ["live"]},
    "Ready": {
        "type": "object",
        "properties": {
            "ready": {"const": True},
            "model": {"$ref": REF.format(model="ModelInfo")},
            "refused_update": {
                "$ref": REF.format(model="ErrorDetail"),
                "description": "Why what is in the bundle's folder now is not served; what was there before is.",
            },
        },
        "required": ["ready", "model"],
    },
}
