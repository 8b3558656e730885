"""The OpenAPI document: from the table of endpoints, and from the models that read and write its messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.model.inputs.kind import InputKind
from serving.model.inputs.registry import find_kind
from serving.model.manifest import Manifest
from serving.model.schemas import ErrorBody
from serving.server.docs.examples import BINARY, list_answers, make_bodies
from serving.server.docs.refusals import ALWAYS, DESCRIPTIONS, describe_refusals, refusal_name
from serving.server.endpoint import Endpoint
from serving.server.http.refusals import InferenceError
from serving.server.oip.codec import HEADER_LENGTH
from serving.server.oip.messages import InferRequest

OPENAPI: Final = "3.1.0"
DIGITS: Final = {"type": "string", "pattern": "^[0-9]+$"}
REQUEST_ID: Final = "X-Request-ID"
PARAMETERS: Final = {
    REQUEST_ID: {
        "in": "header",
        "description": "Comes back with the answer, and stands in the log. Up to 128 letters, digits and "
        "`._:/+=-`; others are replaced.",
        "schema": {"type": "string"},
    },
    "top_k": {
        "in": "query",
        "description": "Answer with so many of the most probable labels only, the most probable first.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    },
    HEADER_LENGTH: {
        "in": "header",
        "description": "How many bytes of the body are JSON, where binary data follows.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
HEADERS: Final = {
    REQUEST_ID: ("The request's `X-Request-ID`, or the service's own: the log names it.", {"type": "string"}),
    "Server-Timing": (
        "Where the time went, in milliseconds: queue, decode, session, total.",
        {"type": "string"},
    ),
    "Retry-After": ("When to try again, in seconds.", DIGITS),
    "WWW-Authenticate": ("How a key is sent.", {"type": "string", "const": "Bearer"}),
    HEADER_LENGTH: ("How many bytes of the body are JSON.", DIGITS),
}
KEY: Final = "A key of the service. A service without keys answers its own machine only."
SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": KEY},
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same, as a header of its own.",
    },
}


def describe_service(endpoints: Sequence[Endpoint], manifest: Manifest) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a service for a bundle."""
    kind = find_kind(manifest.input.modality)
    answers = {type(example): example for example in list_answers(manifest, kind)}
    bodies = make_bodies(manifest, kind)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = {
            **_describe_call(endpoint, manifest, kind),
            **({"requestBody": _describe_body(endpoint, bodies)} if endpoint.operation.body else {}),
            "responses": _describe_answers(endpoint, answers),
        }
    return {
        "openapi": OPENAPI,
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "summary": f"Classifies {kind.plural} into {len(manifest.labels)} labels.",
            "description": "Whatever GET answers, HEAD answers without its body.",
        },
        "paths": paths,
        "components": {
            "schemas": _describe_models([*answers, ErrorBody, InferenceError]),
            "responses": describe_refusals(),
            "parameters": {name: {"name": name, **parameter} for name, parameter in PARAMETERS.items()},
            "headers": {
                name: {"description": text, "schema": schema} for name, (text, schema) in HEADERS.items()
            },
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _describe_models(answers: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Return the schemas of all messages."""
    template = "#/components/schemas/{model}"
    written = [(model, "serialization") for model in answers]
    _, described = models_json_schema([*written, (InferRequest, "validation")], ref_template=template)  # type: ignore[list-item]
    schemas: dict[str, Any] = described["$defs"]
    return schemas


def _describe_call(endpoint: Endpoint, manifest: Manifest, kind: InputKind) -> dict[str, Any]:
    """Return what OpenAPI says of the way to an endpoint; any other value of a part of its path is a 404."""
    constants = {"name": manifest.name, "version": manifest.version}
    parts = re.findall(r"\{(\w+)\}", endpoint.path)
    return {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()} {endpoint.path}").strip("_"),
        "summary": endpoint.operation.summary.format(noun=kind.noun, plural=kind.plural),
        "tags": [endpoint.operation.tag],
        "security": [{}, {"bearer": []}, {"apiKey": []}] if endpoint.access in {"model", "about"} else [],
        "parameters": [
            *(
                {"$ref": f"#/components/parameters/{name}"}
                for name in (REQUEST_ID, *endpoint.operation.parameters)
            ),
            *(
                {"name": part, "in": "path", "required": True, "schema": {"enum": [constants[part]]}}
                for part in parts
            ),
        ],
    }


def _describe_body(endpoint: Endpoint, bodies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"required": True, "content": bodies[str(endpoint.operation.body)] | _binary(endpoint)}


def _describe_answers(endpoint: Endpoint, examples: dict[type[BaseModel], BaseModel]) -> dict[str, Any]:
    answer = endpoint.operation.answer
    if isinstance(answer, str):
        content: dict[str, Any] = {answer: {"schema": {} if answer.endswith("json") else {"type": "string"}}}
    else:
        schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
        example = examples[answer].model_dump(mode="json", exclude_none=True)
        content = {"application/json": {"schema": schema, "example": example}} | _binary(endpoint)
    names = (REQUEST_ID, *endpoint.operation.headers)
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    refused = {
        str(status): {"$ref": f"#/components/responses/{refusal_name(status, endpoint.path)}"}
        for status in sorted(_list_refusals(endpoint))
    }
    return {"200": {"description": "Answered.", "headers": headers, "content": content}} | refused


def _list_refusals(endpoint: Endpoint) -> set[int]:
    """Return the status codes of refusals, by what a request to an endpoint has to pass."""
    is_model, is_unready = endpoint.access == "model", endpoint.operation.needs_model
    conditions = {
        401: endpoint.access in {"model", "about"},
        404: "{" in endpoint.path,
        415: is_model,
        503: is_model or is_unready,
    }
    return {status for status in DESCRIPTIONS if status in ALWAYS or conditions.get(status, False)}


def _binary(endpoint: Endpoint) -> dict[str, Any]:
    return {"application/octet-stream": {"schema": BINARY}} if endpoint.operation.is_binary else {}
