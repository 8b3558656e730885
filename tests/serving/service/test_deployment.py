"""The Bento's start.

Every mistake ends it with one message, or leaves it alive, not ready, and saying why.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving.model.errors import SettingsError
from serving.service.arguments import pass_on_arguments
from tests.conftest import free_port, make_picture, run_graft

IN_USE = {"model": "tiny:1"}


@pytest.mark.parametrize(
    ("command", "passed_on"),
    [
        ("serve tiny:1", {}),
        ("serve tiny:1 --arg model=tiny:1", {}),
        ("serve tiny:1 --arg artifact=onnx-int8", {"GRAFT_ARTIFACT": "onnx-int8"}),
        (
            "serve tiny:1 --arg=artifact=a=b --arg fallback=onnx-fp32",
            {"GRAFT_ARTIFACT": "a=b", "GRAFT_FALLBACK": "onnx-fp32"},
        ),
    ],
)
def test_pass_on_arguments_gives_workers_what_bentoml_forgets(
    command: str, passed_on: dict[str, str]
) -> None:
    assert pass_on_arguments(command.split(), IN_USE) == passed_on


def test_pass_on_arguments_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("artifact: onnx-int8\n")
    assert pass_on_arguments(["--arg-file", str(tmp_path / "args.yaml")], IN_USE) == {
        "GRAFT_ARTIFACT": "onnx-int8"
    }


def test_pass_on_arguments_names_a_bundle_where_a_bento_has_none() -> None:
    """As one that `bentoml build` has made of the source."""
    assert pass_on_arguments(["--arg", "bundle=/x"], {}) == {"GRAFT_BUNDLE": "/x"}


@pytest.mark.parametrize("argument", ["model=other:2", "bundle=/x", "nonsense=1"])
def test_pass_on_arguments_refuses_what_a_bento_fixes(argument: str) -> None:
    with pytest.raises(
        SettingsError, match="cannot be set for a built Bento, only `artifact` and `fallback`"
    ):
        pass_on_arguments(["--arg", argument], IN_USE)


@pytest.fixture(scope="module")
def tag(tiny_run: Path) -> str:
    return str(json.loads((tiny_run / "package" / "bento.json").read_text())["bento"])


MISTAKES = {
    "setting": ({"GRAFT_MAX_QUEUE": "-1"}, "max_queue (GRAFT_MAX_QUEUE)"),
    "misspelt": (
        {"GRAFT_API_KEY": "a-key-0123456789abc"},
        "GRAFT_API_KEY: there is no such setting. Did you mean GRAFT_API_KEYS?",
    ),
    "log level": ({"GRAFT_LOG_LEVEL": "loud"}, "log_level (GRAFT_LOG_LEVEL)"),
    "short key": ({"GRAFT_API_KEYS": "short"}, "GRAFT_API_KEYS: an API key has fewer than 16 characters"),
    "no keys file": ({"GRAFT_API_KEYS_FILE": "/nowhere/keys"}, "/nowhere/keys: the API keys cannot be read"),
    "tracing": (
        {"GRAFT_TRACE": "1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        "only 'http/protobuf' is supported",
    ),
    "origin": ({"GRAFT_ALLOW_ORIGIN": "*"}, "allow_origin (GRAFT_ALLOW_ORIGIN)"),
    "root path": ({"GRAFT_ROOT_PATH": "x/"}, "root_path (GRAFT_ROOT_PATH): it must begin with a slash"),
}


async def _start(environment: dict[str, str], *command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode()


@pytest.mark.slow
def test_a_mistake_ends_both_servers_with_one_message(tag: str, tiny_run: Path) -> None:
    async def start_all() -> None:
        for environment, message in MISTAKES.values():
            bento = [sys.executable, "-m", "bentoml", "serve", tag, "--port", str(free_port())]
            graft = [sys.executable, "-m", "serving", str(tiny_run / "bundle"), "--port", str(free_port())]
            for code, output in await asyncio.gather(
                _start(environment, *bento), _start(environment, *graft)
            ):
                assert code == 1, output
                assert message in output
                assert "Traceback" not in output
                assert len([line for line in output.splitlines() if line.startswith("Error")]) == 1

    asyncio.run(start_all())


@pytest.mark.slow
def test_bentoml_serve_without_a_bundle_says_how_to_name_one() -> None:
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:GraftService",
        "--port",
        str(free_port()),
    ]
    code, output = asyncio.run(_start({"PYTHONPATH": str(Path(__file__).parents[3])}, *command))
    assert code == 1
    assert "--arg bundle=FOLDER" in output


@contextmanager
def started(*command: str, log: Path = Path(os.devnull), **environment: str) -> Iterator[httpx.Client]:
    """A server that answers, ready or not."""
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=out, stderr=out, cwd="/", env=os.environ | environment
        )
    try:
        transport = httpx.HTTPTransport(retries=30)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_bento_that_nobody_can_call_says_so(tag: str, tmp_path: Path) -> None:
    """A caller from elsewhere comes to another address than this machine's own, or through a proxy."""
    elsewhere = {"host": "10.1.2.3:3000"}
    with started(sys.executable, "-m", "bentoml", "serve", tag, log=tmp_path / "log") as client:
        here, there = client.get("/readyz"), client.get("/readyz", headers=elsewhere)
        asked = client.post("/predict", content=make_picture("bars", 1), headers=elsewhere)
        alive = client.get("/livez", headers=elsewhere)
        assert client.post("/predict", content=make_picture("bars", 1)).status_code == 200
    assert here.status_code == alive.status_code == 200
    assert here.json()["restriction"]["code"] == "no_keys"
    assert there.status_code == 503
    assert there.json()["error"] == here.json()["restriction"]
    assert asked.status_code == 401
    for answer in (there, asked):
        assert "GRAFT_API_KEYS" in answer.json()["error"]["message"]
    assert (tmp_path / "log").read_text().count(
        '"level":"warning","logger":"graft","message":"no_keys: '
    ) == 1


@pytest.mark.slow
def test_a_bundle_that_is_refused_leaves_the_bento_alive_and_not_ready(
    tag: str, tiny_run: Path, tmp_path: Path
) -> None:
    """An artifact that was asked for and is not there, too: another version of the bundle may bring it."""
    with started(sys.executable, "-m", "bentoml", "serve", tag, "--arg", "artifact=onnx-int9") as client:
        state = [client.get(path).status_code for path in ("/livez", "/readyz")]
        reason = client.get("/readyz").json()["error"]
    assert state == [200, 503]
    assert reason["code"] == "unknown_artifact"
    assert "onnx-int9" in reason["message"]


@pytest.mark.slow
def test_a_bento_travels_as_an_archive(tag: str, tmp_path: Path) -> None:
    archive, home, store = tmp_path / "it.bento", tmp_path / "home", tmp_path / "store"
    # While BentoML exports a Bento, its folder holds a store of models that is not whole; others serve it.
    for place in (f"bentos/{tag}", f"models/{tag.rpartition('-')[0]}"):
        folder = place.replace(":", "/")
        shutil.copytree(Path(os.environ["BENTOML_HOME"]) / folder, store / folder)
    bentoml = [sys.executable, "-m", "bentoml"]
    environment = os.environ | {"BENTOML_HOME": str(home)}
    exporting = os.environ | {"BENTOML_HOME": str(store)}
    subprocess.run([*bentoml, "export", tag, str(archive)], check=True, capture_output=True, env=exporting)
    subprocess.run([*bentoml, "import", str(archive)], check=True, capture_output=True, env=environment)
    listed = subprocess.run(
        [*bentoml, "list", "-o", "json"], check=True, capture_output=True, text=True, env=environment
    ).stdout
    assert [each["tag"] for each in json.loads(listed)] == [tag]
    with started(*bentoml, "serve", tag, BENTOML_HOME=str(home)) as client:
        assert client.post("/predict", content=make_picture("bars", 2)).json()["label"] == "bars"


def test_graft_package_is_not_redone_for_the_same_bundle(tiny_run: Path, tmp_path: Path) -> None:
    """Which files of the Bento count is said once: a run that was packaged is skipped."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    again = run_graft("package", run)
    assert "package: started" not in again.stderr + again.stdout
