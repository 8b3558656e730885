"""The OpenAPI document as a whole."""

from __future__ import annotations

from typing import Any

from serving.model.manifest import Manifest
from serving.server.http.docs.inference import infer_schemas, list_inference
from serving.server.http.docs.operations import REQUEST_ID_PARAMETER, Operation
from serving.server.http.docs.prediction import list_prediction
from serving.server.http.docs.refusals import describe_refusals
from serving.server.http.docs.schemas import BODY_SCHEMAS
from serving.server.http.docs.service import SERVICE

OPENAPI = "3.1.0"
RESPONSE_HEADERS = {
    "X-Request-ID": ("The request's `X-Request-ID`, or the service's own: the log names it.", {"type": "string"}),
    "Server-Timing": ("Where the time went, in milliseconds: queue, decode, session, total.", {"type": "string"}),
    "Retry-After": ("When to try again, in seconds.", {"type": "string", "pattern": "^[0-9]+$"}),
    "WWW-Authenticate": ("How a key is sent.", {"type": "string", "const": "Bearer"}),
    "Inference-Header-Content-Length": ("How many bytes of the body are JSON.", {"type": "string", "pattern": "^[0-9]+$"}),
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the service. Without keys it answers its own machine only."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, as a header of its own."},
}


def describe_service(manifest: Manifest) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a service for a bundle."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in list_operations(manifest):
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.to_openapi()
    return {
        "openapi": OPENAPI,
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "summary": f"Classifies {'pictures' if manifest.input.modality == 'image' else 'texts'} into {len(manifest.labels)} labels.",
            "description": "Whatever GET answers, HEAD answers without its body.",
        },
        "paths": paths,
        "components": {
            "schemas": {**BODY_SCHEMAS, **infer_schemas(manifest)},
            "responses": describe_refusals(),
            "parameters": {"RequestId": REQUEST_ID_PARAMETER},
            "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in RESPONSE_HEADERS.items()},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def list_operations(manifest: Manifest) -> list[Operation]:
    """All that the service answers."""
    return [*list_prediction(manifest), *SERVICE, *list_inference(manifest)]
