"""A service as a process of its own, with its log in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.conftest import free_port, make_picture

T = TypeVar("T")
# In a mount namespace of its own, whoever may not mount is root.
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
WITH_TMPFS = 'mount -t tmpfs -o size="$0" none "$TMPDIR" && exec "$@"'


@dataclass
class Service:
    """A running service, and what it has written."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Its log; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text("ascii").splitlines()]

    def requests(self) -> list[dict[str, Any]]:
        """The lines of requests other than those by which it was waited for."""
        return [
            line for line in self.lines() if line["logger"] == "graft.access" and line["route"] != "ready"
        ]

    def stop(self) -> None:
        """End it, and wait for its end."""
        self.process.terminate()
        assert self.process.wait(30) == 0


@contextmanager
def logged_service(bundle: Path, log: Path, *options: str, **environment: str) -> Iterator[Service]:
    """Start a service, wait until it is ready, and end it unless it has ended."""
    port = free_port()
    command = [sys.executable, "-m", "serving", str(bundle), "--port", str(port), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd="/", env=os.environ | environment, start_new_session=True
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(service)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def _wait(service: Service) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and service.process.poll() is None:
        try:
            if httpx.get(f"{service.url}/readyz", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the service did not start:\n{service.log.read_text()}")


def serve_command(bundle: Path, *options: object) -> list[str]:
    """The command that serves a bundle."""
    return [sys.executable, "-m", "serving", str(bundle), *map(str, options)]


@contextmanager
def started(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start any command with its log in a file, and end it unless it has ended.

    The caller waits for what it does.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd="/", env=os.environ | environment, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(look: Callable[[], T], timeout_s: float = 30) -> T:
    """What a look gives, once it gives something that counts as true."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if found := look():
                return found
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {look}"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    """The processes that answer for a service, by their ids."""
    children = psutil.Process(process.pid).children(recursive=True)
    return {
        child.pid: child
        for child in children
        if {"spawn_main", "_bentoml_impl.worker.service"} & words_of(child)
    }


def words_of(process: psutil.Process) -> set[str]:
    """The words of a command line."""
    try:
        return {word for argument in process.cmdline() for word in argument.replace("(", " ").split()}
    except psutil.Error:  # it has just ended
        return set()


def predict(url: str, times: int) -> set[int]:
    """The statuses of predictions, each on a connection of its own, which any worker may take."""
    picture = make_picture("bars", 953)
    return {httpx.post(f"{url}/predict", content=picture, timeout=30).status_code for _ in range(times)}


def may_mount() -> bool:
    """Whether a test may mount something in a namespace of its own."""
    try:
        return (
            subprocess.run(
                [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False
