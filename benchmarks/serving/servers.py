"""The servers under measurement: started in process groups of their own, asked, weighed and stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

sys.path.append(str(Path(__file__).parents[1]))
from rounds import measure_apart

from serving.model.runtimes.machine import cpu_limit

HERE = Path(__file__).parent
HOST = "127.0.0.1"
READY_WITHIN_S = 120
ANSWER_WITHIN_S = 60
STOP_WITHIN_S = 10
MB = 1024 * 1024

QUIET = {"ORT_DISABLE_TELEMETRY": "1"}  # the peers would report to the maker of ONNX Runtime; ours never does


@dataclass
class Server:
    """A server under measurement.

    Attributes:
        name: Name of the server.
        command: The command that starts it.
        port: The port that it listens on.
        environment: Environment variables that it gets besides those of this process.
        process: Its process while it runs.
        log: The file that its output is written to.
    """

    name: str
    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None

    def start(self, request: bytes) -> float:
        """Start it, and return the seconds until it first answers the request with 200."""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - open while the server runs
        start = time.perf_counter()
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | QUIET | self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while time.perf_counter() - start < READY_WITHIN_S:
            try:
                with contextlib.closing(Caller(self.port)) as caller:
                    if caller.ask(request)[0] == 200:
                        return time.perf_counter() - start
            except (OSError, http.client.HTTPException):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise SystemExit(f"{self.name} does not answer. It says:\n{self._said()}")

    def _said(self) -> str:
        self.stop()
        assert self.log
        self.log.seek(0)
        return self.log.read()[-3000:].decode(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """Return its process and all processes below it."""
        assert self.process
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def memory(self) -> dict[str, float]:
        """Return the memory of the process tree, in MiB.

        ``rss_mb`` is the resident memory, in which shared pages count in each process. In ``pss_mb`` they
        count once.
        """
        processes = [process.memory_full_info() for process in self.tree()]
        return {
            "rss_mb": sum(info.rss for info in processes) / MB,
            "pss_mb": sum(info.pss for info in processes) / MB,
        }

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process tree has used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.tree())

    def stop(self) -> None:
        """Stop it, and every process below it."""
        if self.process is None:
            return
        try:
            tree = self.tree()
            os.killpg(self.process.pid, signal.SIGTERM)
        except (psutil.NoSuchProcess, ProcessLookupError):
            tree = []
        _, left = psutil.wait_procs(tree, timeout=STOP_WITHIN_S)
        for process in left:
            process.kill()
        self.process.wait()


def ours(run: Path, port: int, artifact: str | None) -> Server:
    """Return our service of a run."""
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(run), "--port", str(port)]
    return Server("ours", command + (["--artifact", artifact] if artifact else []), port)


def before(run: Path, port: int, artifact: str | None, checkout: Path) -> Server:
    """Return our service as another checkout of this repository has it."""
    server = ours(run.absolute(), port, artifact)
    server.name, server.environment = "before", {"PYTHONPATH": str(checkout.absolute())}
    return server


def fastapi(run: Path, port: int, *, tuned: bool = False) -> Server:
    """Return the peer on FastAPI."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_peer:app",
        "--app-dir",
        str(HERE),
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    return _peer("FastAPI", [*command, "--log-level", "warning"], run, port, tuned=tuned)


def litserve(run: Path, port: int, *, tuned: bool = False) -> Server:
    """Return the peer on LitServe, which has a worker for each CPU if it is tuned."""
    workers = cpu_limit() if tuned else 1
    command = [sys.executable, str(HERE / "litserve_peer.py"), str(port), "--workers", str(workers)]
    return _peer("LitServe", command, run, port, tuned=tuned)


def _peer(name: str, command: list[str], run: Path, port: int, *, tuned: bool) -> Server:
    """Return a peer, tuned or not.

    A tuned one has one thread a run, as somebody who measures would set it, so that runs side by side do not
    fight for the CPUs.
    """
    environment = {"BUNDLE": str((run / "bundle").absolute())} | ({"THREADS": "1"} if tuned else {})
    return Server(f"{name}, tuned" if tuned else name, command, port, environment)


class Caller:
    """One client, whose answers are read in this process.

    It keeps its connection, and makes a new one when the server has closed it.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one prebuilt request, and return the status and the body of its answer.

        Raises:
            OSError: There is no connection, or no answer in time.
            HTTPException: The answer is not HTTP.
        """
        if self.connection is None:
            self.connection = socket.create_connection((HOST, self.port), timeout=ANSWER_WITHIN_S)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        closes = True
        try:
            self.connection.sendall(request)
            answer = http.client.HTTPResponse(self.connection)
            answer.begin()
            status, body, closes = answer.status, answer.read(), answer.will_close
        finally:
            if closes:
                self.close()
        return status, body

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection:
            self.connection.close()
            self.connection = None


def drive(port: int, requests: Path, **options: float) -> dict[str, Any]:
    """Run the load generator to its end, and return its figures."""
    return measure_apart(str(HERE / "load.py"), *load_arguments(port, requests, **options))


def load_arguments(port: int, requests: Path, **options: float) -> list[str]:
    """Return the arguments of the load generator."""
    return [str(port), str(requests), *(f"--{name}={value}" for name, value in options.items())]
