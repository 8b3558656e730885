"""A new version of a bundle under load: no request fails, and a bad one changes nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port, make_picture, serving
from tests.serving.server.engine.test_live import bundle, make_version, move_on

pytestmark = pytest.mark.slow
__all__ = ["bundle"]


@pytest.fixture(params=[1])
def url(bundle: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    port = free_port()
    with serving(
        [sys.executable, "-m", "serving", str(bundle), "--port", str(port), "--workers", str(request.param)],
        port,
    ) as url:
        yield url


def version_of(client: httpx.Client) -> tuple[int, str]:
    answer = client.post("/predict", content=make_picture("bars", 1))
    return answer.status_code, answer.json()["model"]["version"] if answer.status_code == 200 else answer.text


def ask_until(url: str, deadline: float, wanted: str) -> list[tuple[int, str]]:
    """Ask on one connection until every one of its last twenty answers is of a version."""
    found: list[tuple[int, str]] = []
    with httpx.Client(base_url=url, timeout=30) as client:
        while time.monotonic() < deadline and {version for _, version in found[-20:]} != {wanted}:
            found.append(version_of(client))
    return found


@pytest.mark.parametrize("url", [1, 2], indirect=True)
def test_a_new_version_takes_over_in_every_worker_without_a_failed_request(url: str, bundle: Path) -> None:
    first = httpx.get(f"{url}/readyz").json()["model"]["version"]
    make_version(bundle.parent / "two", "b2")
    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask_until, url, time.monotonic() + 20, "b2") for _ in range(6)]
        time.sleep(0.5)
        move_on(bundle, "two")
        answers = [answer for task in asking for answer in task.result()]
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {first, "b2"}
    assert all(task.result()[-1] == (200, "b2") for task in asking)


def test_a_bad_version_is_refused_at_readyz_and_the_old_one_goes_on(url: str, bundle: Path) -> None:
    first = httpx.get(f"{url}/readyz").json()["model"]["version"]
    make_version(bundle.parent / "two", "b2")
    (bundle.parent / "two" / "model.onnx").write_bytes(b"not a model")
    move_on(bundle, "two")
    deadline = time.monotonic() + 15
    while "refused_update" not in (state := httpx.get(f"{url}/readyz").json()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (state["ready"], state["model"]["version"], state["refused_update"]["code"]) == (
        True,
        first,
        "hash_mismatch",
    )
    with httpx.Client(base_url=url, timeout=30) as client:
        assert {version_of(client) for _ in range(20)} == {(200, first)}
        assert 'graft_swaps_total{result="refused"} 1.0' in client.get("/metrics").text
