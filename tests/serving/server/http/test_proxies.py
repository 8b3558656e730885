"""Behind a real nginx with its defaults.

What is refused early arrives as what it is, and no replica is taken out for it.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port, make_picture, serving
from tests.serving.nginx import proxied
from tests.serving.processes import logged_service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
]
KEY = "key-behind-a-proxy"
HEADERS = {"x-api-key": KEY}
SETTINGS = {"GRAFT_API_KEYS": KEY, "GRAFT_MAX_BODY_BYTES": "3000000", "GRAFT_MAX_QUEUE": "2"}
JUNK = bytes(2_500_000)
REFUSED: dict[str, tuple[int, str, str, dict[str, str], bytes]] = {
    "without a key": (401, "POST", "/predict", {}, JUNK),
    "unknown path": (404, "POST", "/nothing", HEADERS, JUNK),
    "wrong method": (405, "PUT", "/predict", HEADERS, JUNK),
    "too large": (413, "POST", "/predict", HEADERS, bytes(5_000_000)),
    "pickle": (415, "POST", "/predict", {**HEADERS, "content-type": "application/vnd.bentoml+pickle"}, JUNK),
    "unknown model": (404, "POST", "/v2/models/other/infer", HEADERS, JUNK),
}


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def ports(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Two replicas."""
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        services = [
            stack.enter_context(logged_service(tiny_run / "bundle", folder / name, **SETTINGS))
            for name in "ab"
        ]
        yield [port_of(service.url) for service in services]


@pytest.fixture(scope="module")
def bento_port(tiny_run: Path) -> Iterator[int]:
    tag, port = json.loads((tiny_run / "package" / "bento.json").read_text())["bento"], free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        with serving([sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)], port):
            yield port


@contextmanager
def valid_client(url: str) -> Iterator[Counter[int]]:
    """What a client with a key is answered meanwhile."""
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not is_over.wait(0.02):
                statuses[
                    client.post("/predict", content=make_picture("bars", 3), headers=HEADERS).status_code
                ] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        is_over.set()
        thread.join()


def flood(url: str, count: int) -> Counter[tuple[int, int]]:
    """Send each refused request that often, from four clients.

    Returns the expected and the real status codes.
    """

    def send(index: int) -> tuple[int, int]:
        status, method, path, headers, body = [*REFUSED.values()][index % len(REFUSED)]
        return status, httpx.request(
            method, url + path, content=body, headers=headers, timeout=30
        ).status_code

    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(send, range(count * len(REFUSED))))


@pytest.mark.parametrize("server", ["one replica", "two replicas", "Bento"])
def test_large_refused_bodies_are_refused_as_such_and_others_are_answered(
    ports: list[int], bento_port: int, tmp_path: Path, server: str
) -> None:
    upstream = {"one replica": ports[:1], "two replicas": ports, "Bento": [bento_port]}[server]
    with proxied(tmp_path / "nginx", upstream) as url:
        with valid_client(url) as answered:
            statuses = flood(url, 10)
        error_log = (tmp_path / "nginx" / "error.log").read_text()
    assert statuses == {
        (status, status): 10 * count
        for status, count in Counter(each[0] for each in REFUSED.values()).items()
    }
    assert answered.keys() == {200}, error_log
    assert "upstream" not in error_log


def test_overload_with_large_bodies_is_503_and_no_502(ports: list[int], tmp_path: Path) -> None:
    """A batch of 2.5 MB takes its time, and of 24 clients eight are admitted at a time."""
    batch = [("images", ("x.png", make_picture("bars", index))) for index in range(200)]
    with proxied(tmp_path / "nginx", ports) as url, ThreadPoolExecutor(24) as pool:
        calls = [
            pool.submit(httpx.post, f"{url}/predict_batch", files=batch, headers=HEADERS, timeout=60)
            for _ in range(96)
        ]
        statuses = Counter(call.result().status_code for call in calls)
    assert statuses.keys() == {200, 503}, statuses


def test_a_body_without_a_proxy_is_refused_as_such(ports: list[int]) -> None:
    assert {expected == real for expected, real in flood(f"http://127.0.0.1:{ports[0]}", 3)} == {True}


def test_no_keys_means_not_through_nginx(tiny_run: Path, tmp_path: Path) -> None:
    """Its shortest configuration sends no header that names it, and a Host that is this machine's."""
    with (
        logged_service(tiny_run / "bundle", tmp_path / "log", GRAFT_API_KEYS="") as service,
        proxied(tmp_path / "nginx", [], target=service.url) as url,
    ):
        direct, through = (
            httpx.post(f"{each}/predict", content=make_picture("bars", 4)) for each in (service.url, url)
        )
        ready = httpx.get(f"{url}/readyz")
    assert direct.status_code == 200
    assert through.status_code == 401
    assert ready.status_code == 503
    assert "GRAFT_API_KEYS" in ready.json()["error"]["message"]


def test_a_proxy_that_does_not_show_cannot_be_told_from_this_machine(tiny_run: Path, tmp_path: Path) -> None:
    """nginx from 1.29.7 speaks HTTP/1.1 by itself; docs/serving.md says so, and that keys are the remedy."""
    silent = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    service = logged_service(tiny_run / "bundle", tmp_path / "log", GRAFT_API_KEYS="")
    with service as running, proxied(tmp_path / "nginx", [], target=running.url, extra=silent) as url:
        assert httpx.post(f"{url}/predict", content=make_picture("bars", 4)).status_code == 200


def test_what_bentoml_answers_early_is_no_502_either(bento_port: int, tmp_path: Path) -> None:
    with proxied(tmp_path / "nginx", [bento_port]) as url:
        statuses = Counter(
            httpx.post(f"{url}/schema.json", content=JUNK, headers=HEADERS).status_code for _ in range(20)
        )
    assert statuses == {405: 20}


def test_a_prefix_is_taken_with_and_without_its_removal(tiny_run: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"GRAFT_ROOT_PATH": "/cells"}
    with logged_service(tiny_run / "bundle", tmp_path / "log", **settings) as service:
        for name, target in (("kept", service.url), ("removed", f"{service.url}/")):
            with proxied(tmp_path / name, [], location="/cells/", target=target) as url:
                assert (
                    httpx.post(
                        f"{url}/cells/predict", content=make_picture("bars", 5), headers=HEADERS
                    ).status_code
                    == 200
                )
                assert httpx.get(f"{url}/cells/docs.json").json()["servers"] == [{"url": "."}]
                assert "code" in httpx.get(f"{url}/cells/v2/models/other").json()
        with proxied(
            tmp_path / "whole", [], location="/cells", target=service.url
        ) as url:  # what is sent on early is no 502 either
            assert {httpx.post(f"{url}/cells", content=JUNK).status_code for _ in range(10)} == {307}
