"""BentoML's own clients against the built Bento: every method, in every way in which they take an input."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from _bentoml_impl.client.http import SyncHTTPClient as SpecifiedClient
from bentoml.exceptions import BentoMLException, InvalidArgument
from PIL import Image

from serving.model.predictor import load_predictor
from serving.service import GraftService
from serving.service.uploads import Upload
from tests.conftest import ROOT, free_port, make_picture, serving

pytestmark = pytest.mark.slow
KEY = "key-of-a-bentoml-client"
WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "name": str,
    "PIL": Image.open,
    "upload": lambda path: Upload.of(path.read_bytes()),
}
# BentoML's client asserts a class of which neither is an instance (bentoml 1.4.40); without asserts it takes
# both.
ASSERTED: dict[str, Callable[[Path], Any]] = {"bytes": Path.read_bytes, "file": lambda path: path.open("rb")}


def tag_of(run: Path) -> str:
    return str(json.loads((run / "package" / "bento.json").read_text())["bento"])


def serve(run: Path) -> Any:
    port = free_port()
    return serving([sys.executable, "-m", "bentoml", "serve", tag_of(run), "--port", str(port)], port)


@pytest.fixture(scope="module", autouse=True)
def _key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_API_KEYS", KEY)
        yield


@pytest.fixture(scope="module")
def url(tiny_run: Path) -> Iterator[str]:
    with serve(tiny_run) as url:
        yield url


@pytest.fixture(scope="module")
def text_url(text_run: Path) -> Iterator[str]:
    with serve(text_run) as url:
        yield url


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "picture.png"
    file.write_bytes(make_picture("bars", 960))
    return file


@pytest.fixture(scope="module")
def expected(tiny_run: Path, path: Path) -> dict[str, Any]:
    return load_predictor(tiny_run / "bundle").predict(path.read_bytes()).to_json()


@pytest.mark.parametrize("way", WAYS)
def test_sync_client_sends_pictures(url: str, path: Path, expected: dict[str, Any], way: str) -> None:
    with bentoml.SyncHTTPClient(url, token=KEY) as client:
        assert client.predict(image=WAYS[way](path)) == expected
        assert client.predict(WAYS[way](path)) == expected
        assert client.predict_batch(images=[WAYS[way](path), WAYS[way](path)]) == {
            "predictions": [expected, expected]
        }
        assert client.request("POST", "/predict", content=path.read_bytes()).json() == expected


@pytest.mark.parametrize("way", WAYS)
def test_async_client_sends_pictures(url: str, path: Path, expected: dict[str, Any], way: str) -> None:
    async def call() -> None:
        async with bentoml.AsyncHTTPClient(url, token=KEY) as client:
            assert await client.predict(image=WAYS[way](path)) == expected
            assert await client.predict_batch(images=[WAYS[way](path)] * 2) == {"predictions": [expected] * 2}

    asyncio.run(call())


def test_clients_send_bytes_and_open_files_where_their_assertion_is_off(
    url: str, path: Path, expected: dict[str, Any]
) -> None:
    script = f"""
import asyncio, json, bentoml
path, answers = {str(path)!r}, []
ways = [lambda: open(path, "rb").read(), lambda: open(path, "rb")]
with bentoml.SyncHTTPClient({url!r}, token={KEY!r}) as client:
    for way in ways:
        answers += [client.predict(image=way()), *client.predict_batch(images=[way(), way()])["predictions"]]
async def call():
    async with bentoml.AsyncHTTPClient({url!r}, token={KEY!r}) as client:
        for way in ways:
            answers.extend([await client.predict(image=way()), \
*(await client.predict_batch(images=[way(), way()]))["predictions"]])
asyncio.run(call())
print(json.dumps(answers))
"""
    done = subprocess.run(
        [sys.executable, "-O", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [expected] * 12


@pytest.mark.parametrize("way", WAYS | ASSERTED)
def test_client_that_knows_the_service_sends_pictures(
    url: str, path: Path, expected: dict[str, Any], way: str
) -> None:
    give = (WAYS | ASSERTED)[way]
    with SpecifiedClient(url, service=GraftService, token=KEY) as client:
        assert client.predict(image=give(path)).to_json() == expected
        assert [each.to_json() for each in client.predict_batch(images=[give(path)]).predictions] == [
            expected
        ]


def test_clients_send_texts(text_url: str, text_run: Path) -> None:
    predictor = load_predictor(text_run / "bundle")
    one, two = (predictor.predict(text.encode()).to_json() for text in ("What a day!", "Ünïcode 🍱"))
    with bentoml.SyncHTTPClient(text_url, token=KEY) as client:
        assert client.predict(text="What a day!") == client.predict("What a day!") == one
        assert client.predict_batch(texts=["What a day!", "Ünïcode 🍱"]) == {"predictions": [one, two]}

    async def call() -> None:
        async with bentoml.AsyncHTTPClient(text_url, token=KEY) as client:
            assert await client.predict(text="What a day!") == one
            assert await client.predict_batch(texts=["Ünïcode 🍱"]) == {"predictions": [two]}

    asyncio.run(call())


def test_refusals_are_bentomls_own_errors(url: str, text_url: str, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with bentoml.SyncHTTPClient(url, token=KEY) as client:
        with pytest.raises(InvalidArgument, match="not_an_image"):
            client.predict(image=broken)
        first, second = client.predict_batch(images=[broken, path])["predictions"]
        assert first["error"]["code"] == "not_an_image"
        assert second["label"] == "bars"
        with pytest.raises(TypeError, match="Missing required arguments"):
            client.predict()
    with (
        bentoml.SyncHTTPClient(url, token="a-wrong-key-0123456789") as client,
        pytest.raises(BentoMLException, match="unauthorized") as error,
    ):
        client.predict(image=path)
    assert error.value.error_code == 401
    with bentoml.SyncHTTPClient(text_url, token=KEY) as client, pytest.raises(InvalidArgument, match="empty"):
        client.predict(text="")


def test_nothing_is_fetched_for_a_client(url: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    with socket.create_server(("127.0.0.1", 0)) as trap, bentoml.SyncHTTPClient(url, token=KEY) as client:
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        with pytest.raises(InvalidArgument, match="no URL is fetched"):
            client.predict(image=address)
        with pytest.raises(BentoMLException):
            client.predict_batch(images=[address])
        for request in (
            {"content": address},
            {"json": {"image": address}},
            {"data": {"image": address}},
            {"files": {"image": (None, address)}},
        ):
            assert 400 <= httpx.post(f"{url}/predict", headers=headers, **request).status_code < 500
        trap.settimeout(0.3)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_documents_are_true(url: str, tiny_run: Path) -> None:
    """What the Bento says of itself, what its service says, and what it answers."""
    import yaml

    headers = {"authorization": f"Bearer {KEY}"}
    bento = Path(bentoml.get(tag_of(tiny_run)).path)
    document = httpx.get(f"{url}/docs.json", headers=headers).json()
    assert yaml.safe_load((bento / "apis" / "openapi.yaml").read_text()) == document
    schema = httpx.get(f"{url}/schema.json").json()
    assert json.loads((bento / "apis" / "schema.json").read_text()) == schema
    assert schema["name"] == "tiny"
    image, images = (route["input"]["properties"] for route in schema["routes"])
    assert image["image"]["type"] == images["images"]["items"]["type"] == "file"
    assert {route["route"] for route in schema["routes"]} <= set(document["paths"])


def test_service_of_the_source_answers_too(tiny_run: Path, path: Path, expected: dict[str, Any]) -> None:
    port = free_port()
    service = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:GraftService",
        "--working-dir",
        str(ROOT),
        "--port",
        str(port),
    ]
    with (
        serving([*service, "--arg", f"bundle={tiny_run / 'bundle'}"], port) as url,
        bentoml.SyncHTTPClient(url, token=KEY) as client,
    ):
        assert client.predict(image=path) == expected
