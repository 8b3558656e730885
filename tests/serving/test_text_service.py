"""The service on texts as users start it: a real process, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.artifacts.limits import LIMITS
from serving.model.predictor import load_predictor
from serving.server.engine.live import LiveModel
from tests.conftest import free_port, run_graft, serving

pytestmark = pytest.mark.slow
LONG = "good day " * 30
JSON = {"content-type": "application/json"}


def assert_same(batched: dict[str, Any], alone: dict[str, Any]) -> None:
    """Texts of a batch share runs, whose sums round otherwise; the receipt bounds by how much."""
    bound = LIMITS["fp32"].max_batch_difference
    assert batched["probabilities"] == pytest.approx(alone["probabilities"], abs=bound)
    assert {**batched, **{key: alone[key] for key in ("probability", "probabilities")}} == alone


@pytest.fixture(scope="module")
def client(text_run: Path) -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(text_run), "--port", str(port)]
    with serving(command, port) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_predict_answers_like_the_predictor_when_json_or_plain(client: httpx.Client, text_run: Path) -> None:
    text = "the day was so good \U0001f600"
    expected = load_predictor(text_run / "bundle").predict(text.encode()).to_json()
    answers = [
        client.post("/predict", json={"text": text}),
        client.post("/predict", content=text.encode(), headers={"content-type": "text/plain"}),
        client.post(
            "/predict",
            content=text.encode(),
            headers={"content-type": 'text/plain; charset="UTF-8"; format=flowed'},
        ),
    ]
    assert all(answer.json() == expected for answer in answers)
    assert list(expected) == ["label", "probability", "probabilities", "model"], (
        "the shape that pictures have"
    )


def test_predict_says_so_when_the_text_was_cut(client: httpx.Client) -> None:
    answer = client.post("/predict", json={"text": LONG}).json()
    assert answer["truncation"] == {"tokens": 62, "used": 20}
    batched = client.post("/predict_batch", json={"texts": ["bad", LONG]}).json()["predictions"][1]
    assert_same(batched, answer)


def test_predict_batch_answers_in_order_when_items_are_bad(client: httpx.Client) -> None:
    texts = ["so good", "", "so bad", "x" * 401, "a\0b"]
    found = client.post("/predict_batch", json={"texts": texts}).json()["predictions"]
    assert [item.get("error", {}).get("code") for item in found] == [
        None,
        "empty_input",
        None,
        "text_too_long",
        "nul_character",
    ]
    for index in (0, 2):
        assert_same(found[index], client.post("/predict", json={"text": texts[index]}).json())


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("/predict", {"json": ["a"]}, 400, "wrong_json_type"),
        ("/predict", {"json": "text"}, 400, "wrong_json_type"),
        ("/predict", {"json": {"text": 7}}, 400, "wrong_json_type"),
        ("/predict", {"json": {"text": None}}, 400, "wrong_json_type"),
        ("/predict", {"json": {"text": ["a"]}}, 400, "wrong_json_type"),
        ("/predict", {"json": {}}, 400, "missing_field"),
        ("/predict", {"json": {"texts": ["a"]}}, 400, "missing_field"),
        ("/predict", {"json": {"text": "a", "extra": 1}}, 400, "unknown_field"),
        ("/predict", {"content": b'{"text": "a", "\\ud83d": 1}', "headers": JSON}, 400, "unknown_field"),
        ("/predict", {"json": {"text": ""}}, 400, "empty_input"),
        ("/predict", {"json": {"text": "a\0b"}}, 400, "nul_character"),
        ("/predict", {"content": b'{"text": "\\ud83d"}', "headers": JSON}, 400, "lone_surrogate"),
        ("/predict", {"content": b'{"text": "\xff"}', "headers": JSON}, 400, "not_utf8"),
        ("/predict", {"content": b"\xff\xfe", "headers": {"content-type": "text/plain"}}, 400, "not_utf8"),
        (
            "/predict",
            {"content": b"\xed\xa0\x80", "headers": {"content-type": "text/plain"}},
            400,
            "not_utf8",
        ),
        ("/predict", {"content": b"", "headers": JSON}, 400, "broken_json"),
        ("/predict", {"content": b"{", "headers": JSON}, 400, "broken_json"),
        ("/predict", {"content": b"[" * 100_000, "headers": JSON}, 400, "broken_json"),
        ("/predict", {"content": b'{"text": ' + b"9" * 5000 + b"}", "headers": JSON}, 400, "broken_json"),
        (
            "/predict",
            {"content": b"text=a", "headers": {"content-type": "application/x-www-form-urlencoded"}},
            415,
            "wrong_type",
        ),
        ("/predict", {"content": b"a"}, 415, "wrong_type"),
        (
            "/predict",
            {"content": "a".encode("utf-16"), "headers": {"content-type": "text/plain; charset=utf-16"}},
            415,
            "wrong_charset",
        ),
        (
            "/predict",
            {"content": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
            415,
            "pickle_refused",
        ),
        ("/predict", {"json": {"text": "x" * 401}}, 413, "text_too_long"),
        ("/predict", {"json": {"text": "x" * 10_000_000}}, 413, "body_too_large"),
        (
            "/predict",
            {"content": b"x" * 5_000_000, "headers": {"content-type": "text/plain"}},
            413,
            "text_too_long",
        ),
        ("/predict_batch", {"json": {"texts": []}}, 400, "empty_batch"),
        ("/predict_batch", {"json": {"texts": "a"}}, 400, "wrong_json_type"),
        ("/predict_batch", {"json": {"texts": ["a", 1]}}, 400, "wrong_json_type"),
        ("/predict_batch", {"json": {"texts": ["a", None]}}, 400, "wrong_json_type"),
        ("/predict_batch", {"json": {"text": "a"}}, 400, "missing_field"),
        ("/predict_batch", {"json": {"texts": ["a"] * 257}}, 413, "too_many_items"),
        ("/predict_batch", {"json": {"texts": ["a"] * 10_000}}, 413, "too_many_items"),
        ("/predict_batch", {"content": b"a", "headers": {"content-type": "text/plain"}}, 415, "wrong_type"),
    ],
)
def test_service_refuses_with_one_shape_and_goes_on(
    client: httpx.Client, path: str, request_: dict[str, object], status: int, code: str
) -> None:
    answer = client.post(path, **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    assert client.post("/predict", json={"text": "so good"}).status_code == 200


def test_service_answers_all_when_many_ask_at_once(client: httpx.Client, text_run: Path) -> None:
    predictor = load_predictor(text_run / "bundle")
    texts = [f"{'so ' * (index % 9)}good day {index}" for index in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: client.post("/predict", json={"text": text}), texts))
    assert [answer.json() for answer in answers] == [
        predictor.predict(text.encode()).to_json() for text in texts
    ]


def test_service_documents_texts(client: httpx.Client) -> None:
    paths = client.get("/docs.json").json()["paths"]
    one = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    many = paths["/predict_batch"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert one["properties"]["text"]["type"] == "string"
    assert many["properties"]["texts"]["items"]["type"] == "string"


def test_service_imports_neither_torch_nor_transformers(text_run: Path) -> None:
    script = f"""
import json, sys
from pathlib import Path
from serving.server.app.build import make_app
from serving.model.predictor import load_predictor
load_predictor(Path({str(text_run / "bundle")!r})).predict(b"so good")
heavy = {{"torch", "torchvision", "timm", "transformers", "sklearn", "scipy", \
"matplotlib", "onnx", "pipeline"}}
print(json.dumps(sorted(heavy & {{name.split(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_predict_command_takes_texts_and_files(text_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LONG)
    printed = run_graft("predict", text_run, tmp_path / "a.txt", "--text", "so bad", "--json").stdout
    from_file, from_text = json.loads(printed)
    assert from_file["file"] == str(tmp_path / "a.txt")
    assert from_file["truncation"]["used"] == 20
    assert (from_text["text"], set(from_text["probabilities"])) == ("so bad", {"good", "bad"})
    assert "read up to token 20 of 62" in run_graft("predict", text_run, tmp_path / "a.txt").stdout
    assert "error: The text is empty" in run_graft("predict", text_run, "--text", " ", check=1).stdout
    assert "--text" in run_graft("predict", text_run, check=2).stderr


def test_serve_refuses_an_artifact_that_is_not_published(text_run: Path) -> None:
    refused = run_graft("serve", text_run, "--artifact", "onnx-fp16", check=1)
    assert "publishes no `onnx-fp16`" in refused.stderr
    assert "onnx-fp32" in refused.stderr


def test_wrong_service_refuses_the_bundle_and_names_the_right_one(text_run: Path) -> None:
    live = LiveModel(text_run / "bundle", modality="image")
    assert live.refresh() is False
    assert live.refusal is not None
    assert "Serve it with serving.service:GraftTextService." in live.refusal.message


def test_bento_of_texts_answers_like_the_predictor(text_run: Path) -> None:
    tag, port = json.loads((text_run / "package" / "bento.json").read_text())["bento"], free_port()
    with serving([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], port) as url:
        answer = httpx.post(f"{url}/predict", json={"text": "so good"}, timeout=30)
    assert answer.json() == load_predictor(text_run / "bundle").predict(b"so good").to_json()
