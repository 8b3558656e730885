"""A service as a process of its own, with its log in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port


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
        return [line for line in self.lines() if line["logger"] == "graft.access" and line["route"] != "ready"]

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
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd="/", env=os.environ | environment, start_new_session=True)
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
