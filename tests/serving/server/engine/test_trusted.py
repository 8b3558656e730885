"""A service that is told whose signature a bundle must have, at its start and whenever something changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.run.sign import sign
from serving.server.engine.live import LiveModel
from tests.conftest import ROOT, free_port, make_picture
from tests.serving.processes import Service, logged_service, wait_for
from tests.serving.server.engine.test_live import bundle, make_version, move_on
from tests.signing import KeyPair, make_key

pytestmark = pytest.mark.slow
__all__ = ["bundle"]


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return make_key(tmp_path)


def code_of(live: LiveModel) -> str | None:
    return live.refusal.code if live.refusal else None


def test_only_what_the_key_signed_takes_over(bundle: Path, pair: KeyPair) -> None:
    versions = bundle.parent
    sign(versions / "one", pair.private)
    live = LiveModel(bundle, trusted_keys=pair.public)
    assert live.refresh() is True
    first = live.predictor
    for name in ("unsigned", "foreign", "changed", "signed"):
        make_version(versions / name, f"b{name}")  # with the signature of the first, over another manifest
    (versions / "unsigned" / "model.sig").unlink()
    sign(versions / "foreign", make_key(versions, "other").private)
    for name, code in (
        ("unsigned", "unsigned"),
        ("foreign", "foreign_signature"),
        ("changed", "signature_mismatch"),
    ):
        move_on(bundle, name)
        assert (live.refresh(), code_of(live), live.predictor) == (False, code, first)
    sign(versions / "signed", pair.private)
    move_on(bundle, "signed")
    assert (live.refresh(), live.predictor.version) == (True, "bsigned")


def test_a_bundle_is_checked_again_when_the_trusted_keys_change(bundle: Path, pair: KeyPair) -> None:
    other = make_key(bundle.parent, "other")
    sign(bundle.parent / "one", pair.private)
    keys = Path(shutil.copy(other.public, bundle.parent / "keys.pem"))
    live = LiveModel(bundle, trusted_keys=keys)
    assert (live.refresh(), code_of(live), live.is_ready) == (False, "foreign_signature", False)
    keys.write_bytes(other.public.read_bytes() + pair.public.read_bytes())
    assert (live.refresh(), live.is_ready) == (True, True)
    keys.write_bytes(other.public.read_bytes())  # the key is withdrawn: what is served stays, and it is said
    assert (live.refresh(), code_of(live), live.is_ready) == (False, "foreign_signature", True)
    keys.unlink()
    assert (live.refresh(), code_of(live), live.is_ready) == (False, "trusted_keys", True)
    shutil.copy(pair.public, keys)
    assert (live.refresh(), code_of(live)) == (True, None)


def test_without_trusted_keys_a_signature_does_not_matter(bundle: Path, pair: KeyPair) -> None:
    sign(bundle.parent / "one", pair.private)
    (bundle / "model.sig").write_text("nothing")
    assert LiveModel(bundle).refresh() is True


@pytest.mark.parametrize(
    "command", [["-m", "serving"], ["-m", "pipeline.cli", "serve"]], ids=["serving", "graft"]
)
def test_a_service_does_not_start_with_an_unsigned_bundle(
    bundle: Path, pair: KeyPair, command: list[str]
) -> None:
    options = ["--trusted-keys", str(pair.public), "--port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *command, str(bundle.resolve()), *options],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("Error: ")) == (1, 1)
    assert f"{bundle.resolve()}: is not signed: there is no model.sig" in done.stderr


def state_of(url: str, has: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What /readyz answers, once it has something."""

    def look() -> dict[str, Any] | None:
        state = httpx.get(f"{url}/readyz").json()
        return state if has(state) else None

    return wait_for(look)


def loadings_of(service: Service) -> list[str]:
    """What its workers have said when they began to serve a bundle."""
    return [line["message"] for line in service.lines() if line["message"].startswith("serving ")]


def test_a_running_service_refuses_a_foreign_bundle_and_goes_on(
    bundle: Path, pair: KeyPair, tmp_path: Path
) -> None:
    versions = bundle.parent
    sign(versions / "one", pair.private)
    make_version(versions / "foreign", "b2")
    sign(versions / "foreign", make_key(versions, "other").private)
    make_version(versions / "signed", "b3")
    sign(versions / "signed", pair.private)
    log = tmp_path / "log"
    options = ("--workers", "2")
    with logged_service(
        bundle, log, *options, GRAFT_TRUSTED_KEYS=str(pair.public), GRAFT_WATCH_S="0.1"
    ) as service:
        wait_for(lambda: len(loadings_of(service)) == 2)  # else the later one begins with the foreign bundle
        first = httpx.get(f"{service.url}/readyz").json()["model"]["version"]
        move_on(bundle, "foreign")
        state = state_of(service.url, lambda state: "refused_update" in state)
        assert (state["ready"], state["model"]["version"]) == (True, first)
        assert state["refused_update"]["code"] == "foreign_signature"
        answer = httpx.post(f"{service.url}/predict", content=make_picture("bars", 1))
        assert (answer.status_code, answer.json()["model"]["version"]) == (200, first)
        refused_by_both = 'graft_swaps_total{result="refused"} 2.0'
        wait_for(lambda: refused_by_both in httpx.get(f"{service.url}/metrics").text)
        move_on(bundle, "signed")
        state = state_of(service.url, lambda state: state["model"]["version"] == "b3")
        assert "refused_update" not in state
        service.stop()
        errors = [line["message"] for line in service.lines() if line["level"] == "error"]
    assert any(f"is not served; {first} stays: " in error and "does not hold" in error for error in errors)
