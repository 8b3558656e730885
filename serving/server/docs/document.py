"""The OpenAPI document: from the table of endpoints, and from the models that read and write its messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue, models_json_schema

from serving.model.inputs.kind import InputKind
from serving.model.inputs.registry import find_kind
from serving.model.manifest import Manifest
from serving.model.schemas import ErrorBody
from serving.server.docs.examples import BINARY, list_answers, make_bodies
from serving.server.docs.refusals import ALWAYS, describe_refusals, refusal_name
from serving.server.handlers.about import Live
from serving.server.handlers.oip.codec import HEADER_LENGTH
from serving.server.handlers.oip.inference import LABEL, PROBABILITIES
from serving.server.handlers.oip.messages import InferRequest, RequestOutput, RequestTensor, ServerMetadata
from serving.server.http.bodies import JSON, PLAIN
from serving.server.http.encoding import GZIP, IDENTITY
from serving.server.http.endpoint import Endpoint
from serving.server.http.refusals import InferenceError, is_protocol

OPENAPI: Final = "3.1.0"
REQUEST_ID: Final = "X-Request-ID"
TIMING: Final = "Server-Timing"
ENCODING: Final = "Content-Encoding"
STRING: Final = {"type": "string"}
TOP_K: Final = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
KEY: Final = "A key of the service. Without keys, only its own machine is given predictions."
SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": KEY},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": KEY},
}
# By name: where the parameter stands, its schema, and what it does.
PARAMETERS: Final[dict[str, tuple[str, JsonSchemaValue, str]]] = {
    REQUEST_ID: ("header", STRING, "Comes back with the answer, and stands in the log."),
    "top_k": ("query", TOP_K, "Number of labels to answer with, the most probable first."),
    HEADER_LENGTH: (
        "header",
        {"type": "integer", "minimum": 0},
        "Bytes of the body that are JSON, before it is packed.",
    ),
    ENCODING: (
        "header",
        {"enum": [IDENTITY, GZIP, "x-gzip"]},
        "What the body is packed with. The limit on its size holds for what is unpacked.",
    ),
}
HEADERS: Final = {
    REQUEST_ID: "The request's `X-Request-ID`, or the service's own: the log names it.",
    TIMING: "Where the time went, in milliseconds: queue, decode, session, total.",
    "Retry-After": "When to try again, in seconds.",
    "WWW-Authenticate": "How a key is sent.",
    "Accept-Encoding": "What a body may be packed with, where its encoding was the reason.",
    HEADER_LENGTH: "Bytes of the body that are JSON, where binary data follows.",
}
# By what a request holds: its parameters, and the headers of its answer.
PARAMETERS_OF: Final = {
    None: (),
    "one": ("top_k", ENCODING),
    "many": ("top_k", ENCODING),
    "infer": (HEADER_LENGTH, ENCODING),
}
HEADERS_OF: Final = {None: (), "one": (TIMING,), "many": (TIMING,), "infer": (TIMING, HEADER_LENGTH)}
# What is answered while no model is ready; metrics are the plain text.
WITHOUT_MODEL: Final = (Live, ServerMetadata, PLAIN)


def describe_service(endpoints: Sequence[Endpoint], manifest: Manifest) -> JsonSchemaValue:
    """Return the OpenAPI 3.1 document of a service for a bundle."""
    kind = find_kind(manifest.input.modality)
    answers = {type(example): example for example in list_answers(manifest, kind)}
    bodies = make_bodies(manifest, kind)
    paths: dict[str, JsonSchemaValue] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = {
            **_describe_call(endpoint, manifest, kind),
            **_describe_body(endpoint, bodies),
            "responses": _describe_answers(endpoint, answers),
        }
    return {
        "openapi": OPENAPI,
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "summary": f"Classifies {kind.plural} into {len(manifest.labels)} labels.",
            "description": "Whatever GET answers, HEAD answers without its body. "
            "Large answers are packed with gzip for clients whose Accept-Encoding has it.",
        },
        "servers": [{"url": "."}],  # wherever a proxy or another application offers the service
        "paths": paths,
        "components": {
            "schemas": _describe_models((*answers, ErrorBody, InferenceError), kind),
            "responses": describe_refusals(),
            "parameters": {
                name: {"name": name, "in": place, "description": text, "schema": schema}
                for name, (place, schema, text) in PARAMETERS.items()
            },
            "headers": {name: {"description": text, "schema": STRING} for name, text in HEADERS.items()},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _describe_models(answers: Sequence[type[BaseModel]], kind: InputKind) -> JsonSchemaValue:
    """Return the schemas of all messages, with what the model's one input and its two outputs are called."""
    template = "#/components/schemas/{model}"
    models: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in answers]
    _, described = models_json_schema([*models, (InferRequest, "validation")], ref_template=template)
    schemas: JsonSchemaValue = described["$defs"]
    request, tensor, output = (
        schemas[model.__name__]["properties"] for model in (InferRequest, RequestTensor, RequestOutput)
    )
    request["inputs"] |= {"minItems": 1, "maxItems": 1}
    tensor["name"] |= {"const": kind.name}
    tensor["datatype"] |= {"enum": [form.datatype for form in kind.tensors]}
    output["name"] |= {"enum": [PROBABILITIES, LABEL]}
    return schemas


def _describe_call(endpoint: Endpoint, manifest: Manifest, kind: InputKind) -> JsonSchemaValue:
    """Return what OpenAPI says of the way to an endpoint; any other value of a part of its path is a 404."""
    constants = {"name": manifest.name, "version": manifest.version}
    parts = re.findall(r"\{(\w+)\}", endpoint.path)
    own_tag = "prediction" if endpoint.body else "service"
    in_path = {"in": "path", "required": True}
    return {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()} {endpoint.path}").strip("_"),
        "summary": endpoint.summary.format(noun=kind.noun, plural=kind.plural),
        "tags": ["open inference protocol" if is_protocol(endpoint.path) else own_tag],
        "security": [{}, {"bearer": []}, {"apiKey": []}] if endpoint.access in {"model", "about"} else [],
        "parameters": [
            *_refer("parameters", [REQUEST_ID, *PARAMETERS_OF[endpoint.body]]).values(),
            *({"name": part, "schema": {"enum": [constants[part]]}} | in_path for part in parts),
        ],
    }


def _describe_body(endpoint: Endpoint, bodies: dict[str, JsonSchemaValue]) -> JsonSchemaValue:
    if not endpoint.body:
        return {}
    return {"requestBody": {"required": True, "content": bodies[endpoint.body] | _binary(endpoint)}}


def _describe_answers(endpoint: Endpoint, examples: dict[type[BaseModel], BaseModel]) -> JsonSchemaValue:
    answer = endpoint.answer
    if isinstance(answer, str):
        content: JsonSchemaValue = {answer: {"schema": {} if answer == JSON else STRING}}
    else:
        schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
        example = examples[answer].model_dump(mode="json", exclude_none=True)
        content = {JSON: {"schema": schema, "example": example}} | _binary(endpoint)
    headers = _refer("headers", [REQUEST_ID, *HEADERS_OF[endpoint.body]])
    names = {str(status): refusal_name(status, endpoint.path) for status in sorted(_list_refusals(endpoint))}
    refusals = {status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items()}
    return {"200": {"description": "Answered.", "headers": headers, "content": content}, **refusals}


def _list_refusals(endpoint: Endpoint) -> set[int]:
    """Return the status codes of refusals, by what a request to an endpoint has to pass."""
    conditions = {
        401: endpoint.access in {"model", "about"},
        404: "{" in endpoint.path,
        415: endpoint.access == "model",
        503: endpoint.answer not in WITHOUT_MODEL,
    }
    return {*ALWAYS, *(status for status, is_possible in conditions.items() if is_possible)}


def _refer(place: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/{place}/{name}"} for name in names}


def _binary(endpoint: Endpoint) -> JsonSchemaValue:
    return {"application/octet-stream": {"schema": BINARY}} if endpoint.body == "infer" else {}
