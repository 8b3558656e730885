"""The service in the hands of BentoML's users.

It runs in process, in tests, mounted, below a prefix, configured, and depended on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port, make_picture, serving

pytestmark = pytest.mark.slow
START = """
import json, sys
from contextlib import asynccontextmanager
import bentoml
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
tag, path = sys.argv[1:]
picture = open(path, "rb").read()
said = {}
service = bentoml.load(tag)
"""
IN_PROCESS = """
said["name"] = service.name
said["called"] = [service().predict(way).label for way in (picture, path, open(path, "rb"))]
said["called many"] = [each.label for each in service().predict_batch(images=[picture, path]).predictions]
with TestClient(service.to_asgi()) as client:
    said["client"] = [client.get("/readyz").status_code, \
client.post("/predict", content=picture).json()["label"]]
client = TestClient(service.to_asgi())
said["no lifespan"] = [client.get("/readyz").status_code, \
client.post("/predict", content=picture).json()["label"]]
inner = service.to_asgi()
@asynccontextmanager
async def lifespan(_):
    async with inner.router.lifespan_context(inner):
        yield
with TestClient(Starlette(routes=[Mount("/ml", inner)], lifespan=lifespan)) as client:
    paths = ("/ml/readyz", "/ml/schema.json", "/ml/docs", "/ml/nothing")
    said["mounted"] = [*(client.get(path).status_code for path in paths), \
client.post("/ml/predict/", content=picture).json()["label"]]
    said["mounted protocol"] = client.get("/ml/v2/models/other").json()
service.mount_asgi_app(Starlette(routes=[Route("/hello", lambda _: PlainTextResponse("hello"))]), path="/own")
with TestClient(service.to_asgi()) as client:
    said["own"] = [client.get("/own/hello").text, client.get("/nothing").json()["error"]["code"]]
service.mount_asgi_app(Starlette(routes=[Route("/hello", lambda _: PlainTextResponse("hello"))]), path="/")
with TestClient(service.to_asgi()) as client:
    said["own at the root"] = [client.get("/hello").text, client.get("/livez").json()]
service.mount_apps.clear()
service.path_prefix = "/v1"
with TestClient(service.to_asgi()) as client:
    said["prefix"] = [client.get("/v1/readyz").status_code, client.get("/predict").status_code, \
client.get("/schema.json").json()["routes"][0]["route"]]
"""
CONFIGURED = """
origin = {"origin": "https://app.example.org"}
with TestClient(service.to_asgi()) as client:
    said["probes"] = [client.get(path).status_code for path in ("/health", "/ready", "/livez", "/readyz")]
    said["cors"] = client.get("/livez", headers=origin).headers.get("access-control-allow-origin")
    said["foreign"] = client.get("/livez", headers={"origin": "https://else.example.org"})\
.headers.get("access-control-allow-origin")
    said["ready"] = client.get("/readyz").json()
"""
END = "\nprint(json.dumps(said))\n"
GATEWAY = """
import bentoml
from pathlib import Path
from serving.service import GraftService

@bentoml.service(name="gateway")
class Gateway:
    model = bentoml.depends({depends})

    @bentoml.api(route="/ask")
    def ask(self, path: str) -> str:
        try:
            answer = {call}
            return answer["label"] if isinstance(answer, dict) else answer.label
        except bentoml.exceptions.BentoMLException as error:
            return str(error)
"""


@pytest.fixture(scope="module")
def tag(tiny_run: Path) -> str:
    return str(json.loads((tiny_run / "package" / "bento.json").read_text())["bento"])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "x.png"
    path.write_bytes(make_picture("bars", 961))
    return path


def run(script: str, tag: str, picture: Path, **environment: str) -> dict[str, Any]:
    """What a user's script says; BentoML's configuration is one for a whole process."""
    command = [sys.executable, "-c", START + script + END, tag, str(picture)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_service_works_in_process_in_tests_mounted_and_below_a_prefix(tag: str, picture: Path) -> None:
    said = run(IN_PROCESS, tag, picture)
    assert said.pop("mounted protocol")["code"] == "unknown_model", "the protocol's shape of errors"
    assert said == {
        "name": "tiny",
        "called": ["bars"] * 3,
        "called many": ["bars"] * 2,
        "client": [200, "bars"],
        "no lifespan": [200, "bars"],
        "mounted": [200, 200, 200, 404, "bars"],
        "own": ["hello", "unknown_path"],
        "own at the root": ["hello", {"live": True}],
        "prefix": [200, 404, "/v1/predict"],
    }


def configure(tmp_path: Path, **service: object) -> str:
    path = tmp_path / "bentoml.yaml"
    path.write_text(json.dumps({"services": {"tiny": service}}))
    return str(path)


def test_bentomls_configuration_of_probes_and_origins_counts(tag: str, picture: Path, tmp_path: Path) -> None:
    cors = {"enabled": True, "access_control_allow_origins": ["https://app.example.org"]}
    config = configure(tmp_path, endpoints={"livez": "/health", "readyz": "/ready"}, http={"cors": cors})
    said = run(CONFIGURED, tag, picture, BENTOML_CONFIG=config)
    assert said["probes"] == [200] * 4
    assert [said["cors"], said["foreign"]] == ["https://app.example.org", None]


def test_what_cannot_be_kept_of_bentomls_configuration_is_said(
    tag: str, picture: Path, tmp_path: Path
) -> None:
    cors = {
        "enabled": True,
        "access_control_allow_origins": "https://a.example.org",
        "access_control_allow_credentials": True,
    }
    said = run(CONFIGURED, tag, picture, BENTOML_CONFIG=configure(tmp_path, http={"cors": cors}))
    assert said["probes"] == [404, 404, 200, 503]
    assert said["ready"]["error"]["code"] == "wrong_cors"
    assert "access_control_allow_credentials" in said["ready"]["error"]["message"]


REFUSED = """
with TestClient(service.to_asgi()) as client:
    said["states"] = [client.get(path).status_code for path in ("/livez", "/readyz", "/schema.json")]
    said["code"] = client.post("/predict", content=picture).json()["error"]["code"]
said["paths"] = sorted(service.openapi_spec["paths"])[:3]
"""


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("GRAFT_API_KEYS", "short", "weak_key"), ("GRAFT_ROOT_PATH", "/v2", "invalid_settings")],
)
def test_a_mistake_leaves_it_alive_not_ready_and_saying_why_where_nothing_checked_before(
    tag: str, picture: Path, name: str, value: str, code: str
) -> None:
    said = run(REFUSED, tag, picture, **{name: value})
    assert said == {"states": [200, 503, 200], "code": code, "paths": ["/", "/docs", "/docs.json"]}


BELOW_A_PREFIX = """
with TestClient(service.to_asgi(), headers={"x-api-key": "a-key-0123456789abc"}) as client:
    paths = ("/cells/schema.json", "/schema.json", "/cells/readyz", "/cells/predict", "/cells")
    said["with"] = [client.get(path).status_code for path in paths]
    said["without a key"] = [client.get(path, headers={"x-api-key": ""}).status_code \
for path in ("/schema.json", "/docs.json")]
"""


def test_a_root_path_holds_for_bentomls_clients_and_documentation_is_protected(
    tag: str, picture: Path
) -> None:
    settings = {
        "GRAFT_ROOT_PATH": "/cells",
        "GRAFT_API_KEYS": "a-key-0123456789abc",
        "GRAFT_PROTECT_ALL": "1",
    }
    assert run(BELOW_A_PREFIX, tag, picture, **settings) == {
        "with": [200, 200, 200, 405, 200],
        "without a key": [401, 401],
    }


@contextmanager
def gateway(folder: Path, depends: str, call: str, *arguments: str) -> Iterator[str]:
    """A user's service that depends on ours."""
    (folder / "gateway.py").write_text(GATEWAY.format(depends=depends, call=call))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "gateway:Gateway",
        "--working-dir",
        str(folder),
        "--port",
        str(port),
        *arguments,
    ]
    with serving(command, port) as url:
        yield url


def test_depends_works_by_address_and_is_refused_with_the_reason_by_pickle(
    tag: str, picture: Path, tiny_run: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serving([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], port) as url:
        body = {"path": str(picture)}
        with gateway(tmp_path, f"url={url!r}", "self.model.to_sync.predict(image=Path(path))") as front:
            assert httpx.post(f"{front}/ask", json=body).text == "bars"
        with gateway(
            tmp_path, f"on=GraftService, url={url!r}", "self.model.predict(open(path, 'rb'))"
        ) as front:
            assert httpx.post(f"{front}/ask", json=body).text == "bars"
    arguments = ["--arg", f"bundle={tiny_run / 'bundle'}"]
    with gateway(tmp_path, "on=GraftService", "self.model.predict(image=Path(path))", *arguments) as front:
        answer = httpx.post(f"{front}/ask", json=body).text
    assert "pickle_refused" in answer
    assert "bentoml.depends(url=" in answer
