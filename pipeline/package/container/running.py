"""An image that runs on this machine without docker or podman, to be measured and tested."""

from __future__ import annotations

import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pipeline.errors import GraftError
from pipeline.package.container.isolation import Isolation, isolate, require_isolation
from pipeline.package.container.memory import limited_memory
from pipeline.package.container.processes import inner_processes, listens
from pipeline.package.container.unpacking import Unpacked, unpack

READY_S = 60.0
STOP_S = 40.0
REQUEST_S = 30.0
POLL_S = 0.005
PORTS = range(20_000, 32_000)
PORTS_APART = 97  # between the first choices of two processes with neighbouring numbers
CLONE_NEWNET = 0x40000000  # <linux/sched.h>
ANONYMOUS = {"GRAFT_ALLOW_ANONYMOUS": "1", "GRAFT_LOG_LEVEL": "warning"}


@dataclass(frozen=True)
class Limits:
    """What a container may use.

    Attributes:
        cpus: Number of CPUs.
        memory_mb: Most memory in MiB; None for no limit of its own.
        has_network: Whether it shares this machine's network.
    """

    cpus: int = 1
    memory_mb: int | None = None
    has_network: bool = True


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP.

    Attributes:
        status: Its status.
        body: Its body.
    """

    status: int
    body: bytes


@dataclass(frozen=True)
class Running:
    """A container that runs and is ready.

    Attributes:
        port: The port that it answers on.
        pid: Number of its outermost process on this machine.
        has_network: Whether that port is one of this machine's.
        ready_s: Time from its start to the first answer that it is ready, in seconds.
    """

    port: int
    pid: int
    has_network: bool
    ready_s: float

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Send one request, from inside of its network where it has one of its own.

        Args:
            method: The method, such as ``POST``.
            path: The path, such as ``/predict``.
            body: The body; None for none.

        Raises:
            OSError: It does not answer.
        """
        if self.has_network:
            return self._request(method, path, body)
        # The network of a thread is its own (setns(2)), and ends with it.
        with ThreadPoolExecutor(1, initializer=_enter_network, initargs=(self.pid,)) as thread:
            return thread.submit(self._request, method, path, body).result()

    def _request(self, method: str, path: str, body: bytes | None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())
        finally:
            connection.close()


def _enter_network(pid: int) -> None:
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def unpacked(layout: Path) -> Iterator[Unpacked]:
    """Unpack an image to a folder that is removed at the end.

    Args:
        layout: The folder of its OCI layout.

    Raises:
        GraftError: It is no image that Graft wrote, or was changed.
    """
    folder = Path(tempfile.mkdtemp(prefix="graft-container-"))
    try:
        folder.chmod(0o755)  # another user walks through it
        root = folder / "root"
        root.mkdir(mode=0o755)
        yield unpack(layout, root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(image: Unpacked, limits: Limits, environment: Mapping[str, str] = ANONYMOUS) -> Iterator[Running]:
    """Run an image until the block ends: as its own user, without rights, on a root that is read-only.

    Args:
        image: The unpacked image.
        limits: What it may use.
        environment: Variables beside those of the image; by default everybody is answered.

    Raises:
        IsolationError: This machine cannot isolate it.
        GraftError: It ends, or does not get ready.
    """
    require_isolation()
    port = _free_port()
    with ExitStack() as stack:
        group = stack.enter_context(limited_memory(limits.memory_mb)) if limits.memory_mb else None
        isolation = Isolation(image.user, limits.has_network, group)
        log = stack.enter_context(tempfile.TemporaryFile())
        command = isolate(image.root, image.command, isolation)
        start = time.perf_counter()
        with _on_cpus(limits.cpus):
            process = subprocess.Popen(
                command,
                env={**image.environment, "PORT": str(port), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        stack.callback(_stop, process)
        service = Running(port, process.pid, limits.has_network, 0.0)
        ready_s = _await_ready(service, process, start, log)
        yield replace(service, ready_s=ready_s)


def _await_ready(service: Running, process: subprocess.Popen[bytes], start: float, log: IO[bytes]) -> float:
    """Return the seconds that it takes until the service says that it is ready."""
    while time.perf_counter() - start < READY_S:
        if process.poll() is not None:
            raise GraftError(f"The container has ended with exit code {process.returncode}: {_tail(log)}")
        try:
            is_ready = service.request("GET", "/readyz").status == http.client.OK
            # Somebody else's container may have taken the port; then this one ends, and says why.
            if is_ready and listens(process.pid, service.port):
                return time.perf_counter() - start
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet
        time.sleep(POLL_S)
    raise GraftError(f"The container was not ready within {READY_S:.0f} s: {_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it has said nothing"


def _free_port() -> int:
    """Return a port that nobody listens on, below those that the system gives to clients.

    Each process begins its search elsewhere, so that two seldom choose the same before one listens on it.
    """
    first = os.getpid() * PORTS_APART % len(PORTS)
    ports: list[int] = [*PORTS[first:], *PORTS[:first]]
    for port in ports:
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise GraftError(f"There is no free port between {PORTS[0]} and {PORTS[-1]} for a container.")


@contextmanager
def _on_cpus(count: int) -> Iterator[None]:
    """Limit this thread to some of its CPUs; what it starts meanwhile has them from its first step on."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask what runs to end, as a container's end does, and end it if it does not."""
    for child in inner_processes(process.pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        break  # the first one is that of the container, which ends the others
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
