"""The OpenAPI document: valid, complete, and what the real handlers keep to."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest
import schemathesis
import tritonclient.http as triton
from starlette.applications import Starlette

from serving.model.files import FileRef
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.inputs.text.spec import TextInputSpec
from serving.model.manifest import Manifest, hash_labels
from serving.server.app.build import build_app
from serving.server.app.components import open_components
from serving.server.app.table import list_endpoints
from serving.server.docs.document import describe_service
from serving.server.http.endpoint import Endpoint
from serving.server.settings import Settings
from tests.conftest import make_picture

LABELS = ("cat", "dog", "na\u00efve: bird")
INPUTS = {
    "image": ImageInputSpec(height=32, width=32),
    "text": TextInputSpec(tokenizer=FileRef(file="tokenizer.json", sha256="0" * 64), max_tokens=20, pad_id=0),
}


def make_manifest(modality: str) -> Manifest:
    hashes = dict.fromkeys(("recipe_sha256", "data_sha256", "weights_sha256", "checkpoint_sha256"), "0" * 64)
    return Manifest.model_validate(
        {
            "name": "pets",
            "version": "3f2a",
            "labels": LABELS,
            "labels_sha256": hash_labels(LABELS),
            "input": INPUTS[modality].model_dump(),
            "artifacts": [
                {
                    "name": "onnx-fp32",
                    "runtime": "onnxruntime-cpu",
                    "precision": "fp32",
                    "file": "model.onnx",
                    "sha256": "0" * 64,
                }
            ],
            "reference": {"file": "reference.npz", "sha256": "0" * 64},
            "lineage": hashes | {"versions": {}},
        }
    )


def make_table() -> tuple[Endpoint, ...]:
    return list_endpoints(open_components(Settings(bundle=Path("nowhere"))))


def describe(manifest: Manifest) -> dict[str, Any]:
    return describe_service(make_table(), manifest)


@pytest.fixture(params=["image", "text"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return describe(make_manifest(request.param))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    for part in value["$ref"].removeprefix("#/").split("/"):
        document = document[part]
    return document


def validate(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def list_contents(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, _, operation in operations(document):
        yield from operation.get("requestBody", {"content": {}})["content"].values()
        for response in operation["responses"].values():
            yield from resolve(document, response)["content"].values()


def test_document_is_valid_openapi(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()
    json.dumps(document, allow_nan=False).encode()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def walk(value: object) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from walk(inner)


@pytest.mark.parametrize("markup", ["``", "Attributes:", "Args:", ":class:"])
def test_descriptions_are_for_readers_of_the_api(document: dict[str, Any], markup: str) -> None:
    """They come from docstrings, whose markup and sections belong to the code."""
    assert not [found for found in walk(document) if markup in str(found.get("description"))]


def test_schema_of_requests_says_what_the_model_takes(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    name = schemas["RequestTensor"]["properties"]["name"]["const"]
    assert (
        schemas["RequestTensor"]["properties"]["datatype"]["enum"]
        == {"image": ["BYTES", "UINT8"], "text": ["BYTES"]}[name]
    )
    assert schemas["InferRequest"]["properties"]["inputs"]["maxItems"] == 1
    assert schemas["RequestOutput"]["properties"]["name"]["enum"] == ["probabilities", "label"]


def test_document_says_that_every_body_may_come_packed(document: dict[str, Any]) -> None:
    for _, method, operation in operations(document):
        parameters = {
            parameter["name"]: parameter
            for parameter in (resolve(document, value) for value in operation["parameters"])
        }
        assert ("Content-Encoding" in parameters) == (method == "post")
        assert method != "post" or parameters["Content-Encoding"]["schema"]["enum"] == [
            "identity",
            "gzip",
            "x-gzip",
        ]


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    found = [value for value in walk(document) if "$ref" in value]
    assert len(found) > 50
    for value in found:
        assert resolve(document, value)


def test_document_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    found = {(path, method.upper()) for path, method, _ in operations(document)}
    app = build_app(Settings(bundle=Path("nowhere")))
    assert found == {(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}}
    for endpoint in make_table():
        responses = document["paths"][endpoint.path][endpoint.method.lower()]["responses"]
        assert ("401" in responses) == (endpoint.access in {"model", "about"})
        assert {"400", "405", "408", "413", "431"} <= set(responses)
        assert "503" in responses or endpoint.access in {"probe", "about"}
        assert ("404" in responses) == ("{" in endpoint.path)


def test_examples_keep_to_their_schemas(document: dict[str, Any]) -> None:
    for content in list_contents(document):
        if "example" in content:
            validate(document, content["schema"], content["example"])


def test_every_json_message_has_an_example(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        messages = [
            operation["responses"]["200"]["content"],
            operation.get("requestBody", {"content": {}})["content"],
        ]
        for content in messages:
            if path != "/docs.json" and "application/json" in content:
                assert "example" in content["application/json"], path


def test_example_has_the_models_labels(document: dict[str, Any]) -> None:
    example = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"][
        "example"
    ]
    assert list(example["probabilities"]) == list(LABELS)
    assert (example["label"], example["model"]["name"]) == ("cat", "pets")


def check_answer(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """That an answer is one of those that the document knows."""
    operation = document["paths"][path][answer.request.method.lower()]
    response = resolve(document, operation["responses"][str(answer.status_code)])
    media_type = answer.headers["content-type"].split(";")[0]
    content = response["content"][media_type]
    if media_type == "application/json":
        validate(document, content["schema"], answer.json())
    known = {name.lower() for name in response["headers"]}
    assert set(answer.headers) - HTTP_HEADERS - PAGE_HEADERS <= known
    assert known - {"inference-header-content-length", "accept-encoding"} <= set(answer.headers)
    assert ("accept-encoding" in answer.headers) == (
        answer.status_code == 415 and "wrong_encoding" in answer.text
    )


HTTP_HEADERS = {"content-type", "content-length", "content-encoding", "vary", "connection"}
PAGE_HEADERS = {"content-security-policy", "x-content-type-options", "referrer-policy"}


def fill(document: dict[str, Any], path: str) -> str:
    return path.replace("{name}", document["info"]["title"]).replace("{version}", document["info"]["version"])


ALWAYS_ANSWERED = {"/livez", "/healthz", "/v2/health/live"}
WITHOUT_MODEL = ALWAYS_ANSWERED | {"/metrics", "/v2"}


def ask_all(
    app: Starlette,
    manifest: Manifest | None,
    posts: list[tuple[str, dict[str, Any], int]],
    expect: Callable[[str], int],
) -> None:
    """Ask every GET route, and what else is given; every answer must keep to the document."""
    document = describe(manifest or make_manifest("image"))

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            for path, method, _ in operations(document):
                if method == "get":
                    answer = await client.get(fill(document, path))
                    assert answer.status_code == expect(path), path
                    check_answer(document, path, answer)
                assert (await client.delete(fill(document, path))).status_code == 405
            for path, request, expected in posts:
                answer = await client.post(fill(document, path), **request)
                assert answer.status_code == expected, answer.text
                check_answer(document, path, answer)

    asyncio.run(ask())


INFER = "/v2/models/{name}/infer"


@pytest.mark.slow
def test_answers_about_pictures_keep_to_the_document(tiny_run: Path) -> None:
    app = build_app(Settings(bundle=tiny_run / "bundle"))
    manifest = Manifest.model_validate_json((tiny_run / "bundle" / "manifest.json").read_bytes())
    picture = make_picture("bars", 960)
    example = describe(manifest)["paths"][INFER]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    tensor = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([picture], np.object_))
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    posts: list[tuple[str, dict[str, Any], int]] = [
        ("/predict", {"content": picture}, 200),
        ("/predict", {"content": picture, "params": {"top_k": 1}}, 200),
        ("/predict", {"content": picture, "params": {"top_k": 0}}, 400),
        ("/predict", {"content": picture, "headers": {"content-encoding": "br"}}, 415),
        ("/predict", {"content": gzip.compress(picture), "headers": {"content-encoding": "gzip"}}, 200),
        ("/predict", {"content": picture, "headers": {"content-encoding": "gzip"}}, 400),
        ("/predict", {"content": picture, "headers": {"x-large": "x" * 40_000}}, 431),
        ("/predict", {"content": b"x", "headers": {"content-length": "999999999"}}, 413),
        ("/predict_batch", {"files": [("images", picture), ("images", b"x")]}, 200),
        ("/predict_batch", {"content": picture}, 415),
        (INFER, {"json": example}, 200),
        (INFER.replace("/infer", "/versions/{version}/infer"), {"json": example}, 200),
        (INFER, {"content": body, "headers": {"inference-header-content-length": str(length)}}, 200),
        (INFER, {"json": {}}, 400),
        (INFER, {"json": example, "headers": {"content-encoding": "deflate"}}, 415),
        (INFER, {"content": b"x", "headers": {"content-length": "999999999"}}, 413),
        (INFER, {"json": example, "headers": {"x-large": "x" * 40_000}}, 431),
    ]
    ask_all(app, manifest, posts, lambda path: 200)


@pytest.mark.slow
def test_answers_about_texts_keep_to_the_document(text_run: Path) -> None:
    app = build_app(Settings(bundle=text_run / "bundle"))
    manifest = Manifest.model_validate_json((text_run / "bundle" / "manifest.json").read_bytes())
    contents = describe(manifest)["paths"]
    posts: list[tuple[str, dict[str, Any], int]] = [
        (path, {"json": contents[path]["post"]["requestBody"]["content"]["application/json"]["example"]}, 200)
        for path in ("/predict", "/predict_batch", INFER)
    ]
    posts += [("/predict", {"json": {"text": "good day " * 30}}, 200), ("/predict", {"content": b"x"}, 415)]
    ask_all(app, manifest, posts, lambda path: 200)


def test_answers_without_a_model_keep_to_the_document(tmp_path: Path) -> None:
    posts: list[tuple[str, dict[str, Any], int]] = [
        (path, {"content": b"x"}, 503) for path in ("/predict", "/predict_batch", INFER)
    ]
    ask_all(
        build_app(Settings(bundle=tmp_path)), None, posts, lambda path: 200 if path in WITHOUT_MODEL else 503
    )


def test_answers_without_a_key_keep_to_the_document(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("not-the-key-that-comes\n")
    app = build_app(Settings(bundle=tmp_path, api_keys_file=tmp_path / "keys", protect_all=True))
    posts: list[tuple[str, dict[str, Any], int]] = [
        (path, {"content": b"x"}, 401) for path in ("/predict", "/predict_batch", INFER)
    ]
    probes = {
        "/",
        "/readyz",
        "/v2/health/ready",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}/ready",
    }
    ask_all(app, None, posts, lambda path: 200 if path in ALWAYS_ANSWERED else 503 if path in probes else 401)
