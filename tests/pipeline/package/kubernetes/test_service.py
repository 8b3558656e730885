"""What the manifests say of the service, tried on the service itself."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.files.layout import RunFolder
from pipeline.package.container.config import PORT
from pipeline.package.kubernetes.manifests import write_kserve, write_kubernetes
from pipeline.package.kubernetes.values import DRAIN_S, PRE_STOP_S, QUEUE_METRIC
from pipeline.recipe.deploy import Deploy
from pipeline.recipe.reading import load_recipe
from serving.server.process import launch
from serving.server.process.cli import main
from tests.conftest import free_port, make_picture
from tests.pipeline.package.kubernetes.validating import read_manifests

pytestmark = pytest.mark.slow
KEY = "a-key-that-is-long-enough"


@pytest.fixture(scope="module")
def container(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The container of KServe's runtime, which says how the service is started; else the image does."""
    folder = tmp_path_factory.mktemp("manifests")
    deploy = Deploy(image="registry.example.org/team/cells")
    recipe = load_recipe(tiny_run / "recipe.yaml").model_copy(update={"deploy": deploy})
    write_kserve(recipe, RunFolder(tiny_run), folder / "kserve")
    write_kubernetes(recipe, RunFolder(tiny_run), folder / "kubernetes")
    (found,) = read_manifests(folder / "kserve")["ServingRuntime"]["spec"]["containers"]
    pod = read_manifests(folder / "kubernetes")["Deployment"]["spec"]["template"]["spec"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "env", "resources"):
        assert pod["containers"][0][name] == found[name], "both start the same service"
    return dict(found)


@pytest.fixture
def service(
    container: dict[str, Any], tiny_run: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service, started as the container says, but where its files and a free port are on this machine."""
    keys, port = tmp_path / "api-keys", free_port()
    keys.write_text(f"{KEY}\n")
    places = {"/mnt/models": str(tiny_run / "bundle"), str(PORT): str(port)}
    command = [sys.executable, "-m", "serving", *(places.get(word, word) for word in container["args"])]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables.pop("GRAFT_API_KEYS_FILE")
    process = subprocess.Popen(
        command, env=variables | {"GRAFT_API_KEYS_FILE": str(keys), "PATH": "/usr/bin:/bin"}, cwd="/"
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except OSError:
        return 0, ""


def answer_after_sigterm(process: subprocess.Popen[bytes], url: str) -> int:
    """The status of a request whose second half is sent after the service was told to stop."""
    picture, address = make_picture("bars", 70), urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=DRAIN_S)
    connection.putrequest("POST", "/predict")
    for name, value in {"X-API-Key": KEY, "Content-Length": str(len(picture))}.items():
        connection.putheader(name, value)
    connection.endheaders(picture[:100])
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(picture[100:])
    return connection.getresponse().status


def test_probes_find_the_service_ready_without_a_key(
    service: tuple[subprocess.Popen[bytes], str], container: dict[str, Any]
) -> None:
    process, url = service
    start, probe = time.monotonic(), container["startupProbe"]
    while get(url + probe["httpGet"]["path"])[0] != 200:
        assert time.monotonic() - start < probe["periodSeconds"] * probe["failureThreshold"]
        time.sleep(0.1)
    for name in ("readinessProbe", "livenessProbe"):
        assert get(url + container[name]["httpGet"]["path"])[0] == 200
    status, metrics = get(f"{url}/metrics")
    assert status == 200
    assert f"\n{QUEUE_METRIC} 0.0\n" in metrics, "what KEDA asks Prometheus for"
    assert answer_after_sigterm(process, url) == 200, "what was asked before the stop is answered"
    assert process.wait(timeout=DRAIN_S) in {0, -signal.SIGTERM}


def test_service_stops_within_the_time_that_a_pod_has(container: dict[str, Any]) -> None:
    assert launch.DRAIN_S == DRAIN_S
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_S


def test_port_is_the_services_own() -> None:
    (port,) = [parameter for parameter in main.params if parameter.name == "port"]
    assert port.default == PORT
