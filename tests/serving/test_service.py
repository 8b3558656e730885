"""The service as users start it: a real process, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from serving.model.predictor import load_predictor
from tests.conftest import free_port, make_picture, run_graft, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tiny_run: Path) -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(tiny_run), "--port", str(port)]
    with serving(command, port) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_predict_answers_like_the_predictor_when_raw_or_multipart(
    client: httpx.Client, tiny_run: Path
) -> None:
    picture = make_picture("bars", 910)
    expected = load_predictor(tiny_run / "bundle").predict(picture).to_json()
    raw = client.post("/predict", content=picture, headers={"content-type": "image/png"})
    form = client.post("/predict", files={"image": ("x.png", picture)})
    untyped = client.post("/predict", content=picture)
    as_curl_does = client.post(
        "/predict", content=picture, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert raw.json() == form.json() == untyped.json() == as_curl_does.json() == expected
    assert list(raw.json()) == ["label", "probability", "probabilities", "model"]
    assert raw.headers["content-type"] == "application/json"


def test_predict_batch_answers_in_order_when_one_item_is_bad(client: httpx.Client) -> None:
    pictures = [make_picture("bars", 911), b"not a picture", make_picture("plain", 912)]
    answer = client.post("/predict_batch", files=[("images", ("x", picture)) for picture in pictures])
    first, second, third = answer.json()["predictions"]
    assert answer.status_code == 200
    assert second["error"]["code"] == "not_an_image"
    assert first == client.post("/predict", content=pictures[0]).json()
    assert third == client.post("/predict", content=pictures[2]).json()


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("/predict", {"content": b""}, 400, "empty_input"),
        ("/predict", {"content": b"garbage"}, 400, "not_an_image"),
        ("/predict", {"json": {"image": "http://127.0.0.1/x.png"}}, 415, "wrong_type"),
        ("/predict", {"files": {"other": b"x"}}, 400, "missing_field"),
        ("/predict", {"files": [("image", b"x"), ("image", b"y")]}, 400, "several_images"),
        (
            "/predict",
            {"data": b"abc", "headers": {"content-type": "multipart/form-data"}},
            400,
            "broken_form",
        ),
        (
            "/predict",
            {"content": b"abc", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "broken_form",
        ),
        (
            "/predict",
            {"content": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
            415,
            "pickle_refused",
        ),
        ("/predict_batch", {"content": b"x"}, 415, "not_multipart"),
        ("/predict_batch", {"files": [("images", b"x")] * 257}, 413, "too_many_items"),
        ("/predict", {"content": b"x" * (64 * 1024 * 1024 + 1)}, 413, "body_too_large"),
        ("/nowhere", {"content": b"x"}, 404, "unknown_path"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_service_refuses_with_one_shape_and_goes_on(
    client: httpx.Client, path: str, request_: dict[str, object], status: int, code: str
) -> None:
    answer = client.post(path, **request_)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert set(answer.json()) == {"error"}
    assert client.post("/predict", content=make_picture("plain", 913)).status_code == 200


def test_service_refuses_when_a_chunked_body_exceeds_the_limit(client: httpx.Client) -> None:
    answer = client.post("/predict", content=(b"x" * 1024 * 1024 for _ in range(66)))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_service_answers_all_when_many_ask_at_once(client: httpx.Client) -> None:
    pictures = [make_picture("bars", index) for index in range(8)]
    expected = [client.post("/predict", content=picture).json() for picture in pictures]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: client.post("/predict", content=pictures[i % 8]), range(160)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json() == expected[i % 8] for i, answer in enumerate(answers))


def test_probes_and_documentation_are_there(client: httpx.Client) -> None:
    assert [client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    assert "graft_requests_total" in client.get("/metrics").text
    document = client.get("/docs.json").json()
    assert {"/predict", "/predict_batch"} <= set(document["paths"])


def test_service_imports_no_training_code(tiny_run: Path) -> None:
    """What a worker imports, in a process of its own: the application, and its predictor at work."""
    script = f"""
import asyncio, json, sys
import httpx
from serving.server.app.build import make_app
from serving.server.settings import read_settings
app = make_app(read_settings({{"bundle": {str(tiny_run / "bundle")!r}}}, {{}}))
async def work():
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), \
httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post("/predict", content=bytes.fromhex({make_picture("bars", 0).hex()!r}))
        assert answer.status_code == 200, answer.text
asyncio.run(work())
heavy = {{"torch", "torchvision", "timm", "transformers", "sklearn", "scipy", \
"matplotlib", "onnx", "pipeline", "bentoml", "openvino"}}
print(json.dumps(sorted(heavy & {{name.split(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_worker_process_maps_no_torch(client: httpx.Client) -> None:
    """The running service's own memory map.

    Neither the process that holds the port nor its workers hold a torch library.
    """
    parents = [
        process for process in psutil.process_iter() if str(client.base_url.port) in _arguments(process)
    ]
    maps = "".join(
        Path(f"/proc/{process.pid}/maps").read_text()
        for parent in parents
        for process in [parent, *parent.children(recursive=True)]
    )
    assert "onnxruntime" in maps
    assert "libtorch" not in maps


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_serve_refuses_when_port_is_taken_or_bundle_changed(
    client: httpx.Client, tiny_run: Path, tmp_path: Path
) -> None:
    taken = run_graft("serve", tiny_run, "--port", client.base_url.port, check=1)
    assert "--port" in taken.stderr
    missing = run_graft("serve", tmp_path, check=1)
    assert "manifest.json" in missing.stderr


def test_serve_refuses_a_public_address_without_keys(tiny_run: Path) -> None:
    refused = run_graft("serve", tiny_run, "--host", "0.0.0.0", "--port", free_port(), check=1)
    assert "0.0.0.0 can be reached by other machines, and there are no API keys." in refused.stderr
    assert "--allow-anonymous" in refused.stderr


def test_predict_gives_the_most_probable_labels_when_asked(client: httpx.Client) -> None:
    whole = client.post("/predict", content=make_picture("bars", 914)).json()
    best = client.post("/predict?top_k=1", content=make_picture("bars", 914)).json()
    assert best == whole | {"probabilities": {whole["label"]: whole["probability"]}}
    batch = client.post("/predict_batch?top_k=1", files=[("images", make_picture("bars", 914))] * 2).json()
    assert batch["predictions"] == [best, best]


def test_answers_say_where_the_time_went_and_to_which_request_they_belong(client: httpx.Client) -> None:
    answer = client.post("/predict", content=make_picture("bars", 915), headers={"X-Request-ID": "order-66"})
    parts = {
        name: float(value.removeprefix("dur="))
        for name, value in (part.split(";") for part in answer.headers["server-timing"].split(", "))
    }
    assert list(parts) == ["queue", "decode", "session", "total"]
    assert all(milliseconds > 0 for milliseconds in parts.values())
    assert parts["queue"] + parts["decode"] + parts["session"] <= parts["total"]
    assert answer.headers["x-request-id"] == "order-66"
    replaced = client.post("/predict", content=b"", headers={"X-Request-ID": "a b"}).headers["x-request-id"]
    assert len(replaced) == 32
