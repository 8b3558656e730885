"""Shared parts: a small labelled folder, a small backbone with a weights file, one finished run of them."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image

from tests.encoders import make_encoder, make_texts, text_recipe
from tests.leftovers import ROOT, Snapshot, Watched, changes_since, live_apart, watched_places

TINY = "test_resnet"  # timm's own small network for tests
SIZE_PX = 64


WATCHED = pytest.StashKey[Watched]()
# The files that take longest, longest first, so that workers end together. The others follow by name.
LONGEST = (
    "e2e/test_pages.py",
    "e2e/test_text_cli.py",
    "pipeline/test_text_kinds.py",
    "pipeline/test_image_kinds.py",
    "pipeline/run/test_runner.py",
    "e2e/test_killed.py",
    "e2e/test_nothing_leaves.py",
    "serving/server/http/test_hostile.py",
    "pipeline/verify/test_receipt.py",
    "serving/server/http/test_proxies.py",
    "serving/test_third_kind.py",
)
BEFORE = pytest.StashKey[Snapshot]()
CHANGED = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)  # after pytest has chosen the session's folder
def pytest_configure(config: pytest.Config) -> None:
    """Live in places of the session's own, once what is to stay as it is has been looked at."""
    if not hasattr(config, "workerinput"):  # workers inherit the environment
        config.stash[WATCHED] = watched_places()
        config.stash[BEFORE] = config.stash[WATCHED].look()
        live_apart(config._tmp_path_factory.getbasetemp())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; `--no-loadscope-reorder` lets xdist keep the order."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(trylast=True)  # when the workers have ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where tests have left something behind."""
    if BEFORE in session.config.stash:
        after = session.config.stash[WATCHED].look()
        session.config.stash[CHANGED] = changes_since(session.config.stash[BEFORE], after)
        if session.config.stash[CHANGED]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What tests, or somebody else meanwhile, have changed."""
    if changed := config.stash.get(CHANGED, []):
        terminalreporter.section(
            "failed: changed while the tests ran, by them, which must not be, or by somebody else"
        )
        for line in changed:
            terminalreporter.write_line(line)


def make_picture(label: str, index: int) -> bytes:
    """A noisy PNG of 72 x 64 pixels: `bars` has vertical bars, `plain` has none."""
    rng = np.random.default_rng(1000 * (label == "bars") + index)
    pixels = rng.normal(110, 25, (64, 72, 3))
    if label == "bars":
        pixels[:, rng.integers(0, 6) :: 8] += 90
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_folder(root: Path, per_label: int = 40) -> Path:
    """A folder with one subfolder a class."""
    for label in ("bars", "plain"):
        (root / label).mkdir(parents=True)
        for index in range(per_label):
            (root / label / f"{index:03d}.png").write_bytes(make_picture(label, index))
    return root


def run_graft(
    *arguments: object, env: dict[str, str] | None = None, check: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, in a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        timeout=600,
        cwd=ROOT,
        check=False,
    )
    if check is not None:
        assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(autouse=True)
def _log_of_graft_put_back() -> Iterator[None]:
    """A command that runs in this process sends the log elsewhere; what comes after must not notice."""
    logger = logging.getLogger("graft")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that all of a session's worker processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


def make_once(common: Path, name: str, make: Callable[[Path], object]) -> Path:
    """What ``make`` leaves at a place of that name, made by the first process that asks for it."""
    with FileLock(common / f"{name}.lock"):
        if not (common / f"{name}.done").exists():
            make(common / name)
            (common / f"{name}.done").touch()
    return common / name


@pytest.fixture(scope="session")
def pictures(common: Path) -> Path:
    """80 pictures of two labels."""
    return make_once(common, "pictures", make_folder)


@pytest.fixture(scope="session")
def tiny_weights(common: Path) -> Path:
    """Weights for the small network, of a fixed seed, as a safetensors file."""
    return make_once(common, "tiny.safetensors", _make_weights)


def _make_weights(path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(
        {name: value.contiguous() for name, value in timm.create_model(TINY).state_dict().items()}, path
    )


def recipe_document(pictures: Path, weights: Path, **changes: object) -> dict[str, object]:
    """A recipe for the small folder and the small network."""
    document: dict[str, object] = {
        "name": "tiny",
        "data": {"source": str(pictures)},
        "backbone": {"name": TINY, "weights": str(weights)},
        "image": {"size": SIZE_PX},
        "finetune": {
            "mode": "lp-ft",
            "epochs": 2,
            "batch_size": 16,
            "augment": {"crop_scale": [0.8, 1.0]},
            "device": "cpu",
        },
        "transfer": {"scratch_seconds": 0},
        "evaluate": {"bootstrap": 100, "ship_negative_transfer": True},
    }
    return document | changes


@pytest.fixture(scope="session")
def tiny_run(
    pictures: Path, tiny_weights: Path, common: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run, each process's own. Tests that change it work on a copy."""

    def make(base: Path) -> None:
        base.mkdir()
        (base / "recipe.yaml").write_text(yaml.safe_dump(recipe_document(pictures, tiny_weights)))
        run_graft("run", base / "recipe.yaml", "--run", base / "tiny")

    return _own_copy(make_once(common, "run", make), tmp_path_factory) / "tiny"


@pytest.fixture(scope="session")
def text_run(common: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on small texts with a small BERT, each process's own. Who changes it works on a copy."""

    def make(base: Path) -> None:
        base.mkdir()
        encoder, texts = make_encoder(base / "encoder"), make_texts(base / "texts.csv")
        (base / "recipe.yaml").write_text(yaml.safe_dump(text_recipe(texts, encoder)))
        run_graft("run", base / "recipe.yaml", "--run", base / "tiny-text")

    return _own_copy(make_once(common, "text", make), tmp_path_factory) / "tiny-text"


def _own_copy(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another process may be working on at this moment is no place to copy from."""
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("own") / made.name))


def free_port() -> int:
    """A port below the ephemeral range that nobody listens on."""
    for port in range(20000 + 7 * os.getpid() % 12000, 32768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no free port")


@contextmanager
def serving(command: list[str], port: int, timeout_s: float = 60) -> Iterator[str]:
    """Start a server, wait until it is ready, yield its address, and end it."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + timeout_s
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the server did not start:\n{process.communicate()[0]}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False
