"""A signed bundle in BentoML: its model holds the signature, which the Bento's service checks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.run.sign import sign
from serving.model.signature import open_trusted
from tests.conftest import free_port, make_picture, run_graft
from tests.serving.processes import wait_for
from tests.signing import KeyPair, make_key

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key(tmp_path_factory.mktemp("keys"))


@dataclass(frozen=True)
class Packaged:
    """A run that was packaged, signed and packaged again, into a store of BentoML's own.

    Attributes:
        home: The store, which other tests do not see.
        before: Tags of the unsigned model and Bento.
        after: Tags of the signed ones.
    """

    home: Path
    before: dict[str, str]
    after: dict[str, str]

    def place(self, store: str, tag: str) -> Path:
        return self.home.joinpath(store, *tag.split(":"))


@pytest.fixture(scope="module")
def packaged(tiny_run: Path, pair: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    home = tmp_path_factory.mktemp("bentoml")
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("signed") / "run"))

    def package() -> tuple[str, dict[str, str]]:
        log = run_graft("package", run, env={"BENTOML_HOME": str(home)}).stderr
        return log, json.loads((run / "package" / "bento.json").read_text())

    _, before = package()
    sign(run, pair.private)
    log, after = package()
    assert "package: started" in log
    assert "package: unchanged, skipped" in package()[0]
    return Packaged(home, before, after)


def test_the_model_in_the_store_is_the_signed_bundle_under_its_old_tag(
    packaged: Packaged, pair: KeyPair
) -> None:
    assert packaged.before["model"] == packaged.after["model"]
    stored = packaged.place("models", packaged.after["model"])
    assert (stored / "model.yaml").is_file()
    assert open_trusted(stored, pair.public).manifest.name == "tiny"


def test_a_signed_bento_brings_what_checks_its_signature(packaged: Packaged) -> None:
    places = [packaged.place("bentos", tags["bento"]) for tags in (packaged.before, packaged.after)]
    texts = [(place / "env" / "python" / "requirements.txt").read_text() for place in places]
    assert ["cryptography==" in text for text in texts] == [False, True]


@contextmanager
def bento(packaged: Packaged, keys: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", packaged.after["bento"], "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ
        | {"BENTOML_HOME": str(packaged.home), "GRAFT_TRUSTED_KEYS": str(keys), "GRAFT_WATCH_S": "0.1"},
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def state_of(url: str) -> tuple[int, Any] | None:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5)
    except httpx.TransportError:
        return None
    return answer.status_code, answer.json()


def test_a_bento_serves_what_is_signed_by_whom_it_is_told_to_trust(
    packaged: Packaged, pair: KeyPair, tmp_path: Path
) -> None:
    keys = Path(shutil.copy(make_key(tmp_path, "other").public, tmp_path / "keys.pem"))
    with bento(packaged, keys) as url:
        status, state = wait_for(lambda: state_of(url))
        assert (status, "foreign_signature" in json.dumps(state)) == (503, True)
        shutil.copy(pair.public, keys)
        deadline = time.monotonic() + 20
        while state_of(url)[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert httpx.post(f"{url}/predict", content=make_picture("bars", 1)).json()["label"] == "bars"
