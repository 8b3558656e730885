"""Measure where the service itself is the limit: requests/s by threads and workers, the model simulated.

    python benchmarks/serving/scale.py BUNDLE [--run-ms 0 2 10] [--counts 1 2 4 8] [--seconds 4]

The model, decoding included, is replaced by a wait of so many milliseconds without the GIL, so that a machine
of two cores stands for one that has as many as there are threads: only HTTP, admission and answers compute.
`threads` is one process with so many threads, `workers` so many processes with one thread each. `ideal` is
the rate of the waits alone; where the rate falls behind it, the event loop and the GIL are the limit. `cpu`
is the CPU time of the service a request, and `loop` the most of a CPU that one of its processes took:
a process whose loop is the limit takes all of one. `limit` is the rate at which each process would take a
whole CPU, which holds on a busy machine too. The load generator shares the cores with the service.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvicorn
from starlette.applications import Starlette

from serving.model.inputs.item import Item
from serving.model.predictor import Predictor, load_predictor
from serving.server.app import components
from serving.server.app.build import make_app
from serving.server.engine import live
from serving.server.process.protocol import HardenedProtocol
from serving.server.settings import Settings

LOAD = Path(__file__).with_name("load.py")
BODY = b"x" * 20_000  # of a picture of 300 x 300, or thereabouts
REQUEST = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
CLIENTS_PER_THREAD = 4


@dataclass(frozen=True)
class Case:
    """A service to measure: processes, threads in each, and how long the model takes, in milliseconds."""

    workers: int
    threads: int
    run_ms: float

    @property
    def clients(self) -> int:
        """Number of clients, which keep every thread busy."""
        return CLIENTS_PER_THREAD * self.workers * self.threads


class Simulated:
    """The preprocessor and the session of a model that takes a time and no CPU.

    Args:
        predictor: The predictor that it takes the place of; its answers have as many labels.
        run_ms: How long an input takes, in milliseconds.
    """

    def __init__(self, predictor: Predictor, run_ms: float) -> None:
        labels = len(predictor.manifest.labels)
        self._row = np.full((1, labels), 1 / labels, np.float32)
        self._seconds = run_ms / 1000
        self._item = Item(np.zeros(1, np.uint8))

    def decode(self, _: bytes) -> Item:
        return self._item

    def score(self, _: object) -> np.ndarray[Any, Any]:
        if self._seconds:
            time.sleep(self._seconds)
        return self._row


def make_simulated_app(bundle: Path, case: Case) -> Starlette:
    """Return the service's own application around a simulated model."""
    components.cpu_limit = lambda: case.threads  # type: ignore[attr-defined]
    predictor = load_predictor(bundle)
    simulated = Simulated(predictor, case.run_ms)
    predictor.decode, predictor.score = simulated.decode, simulated.score  # type: ignore[method-assign]
    live.load_predictor = lambda *_, **__: predictor  # type: ignore[attr-defined]
    return make_app(Settings(bundle=bundle, max_queue=4096))


def serve(bundle: Path, port: int, case: Case) -> None:
    """Serve until this process is ended; each worker is a fork that accepts from the same socket."""
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    for _ in range(case.workers - 1):
        if os.fork() == 0:
            break
    app = make_simulated_app(bundle, case)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HardenedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def measure(bundle: Path, port: int, case: Case, seconds: float) -> dict[str, float]:
    """Start a service, load it, and return its rate and what its processes took."""
    command = [sys.executable, __file__, str(bundle), "--serve", str(port)]
    numbers = [str(case.workers), str(case.threads), str(case.run_ms)]
    service = subprocess.Popen([*command, *numbers], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(port)
        processes = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "one.http").write_bytes(REQUEST)
            options = [str(port), folder, "--clients", str(case.clients), "--seconds", str(seconds)]
            before, start = cpu_seconds(processes), time.monotonic()
            done = subprocess.run(
                [sys.executable, LOAD, *options], check=True, capture_output=True, text=True
            )
            wall, after = time.monotonic() - start, cpu_seconds(processes)
    finally:
        os.killpg(service.pid, 15)
        service.wait()
    found = json.loads(done.stdout.splitlines()[-1])
    spent = [late - early for early, late in zip(before, after, strict=True)]
    answers = found["per_s"] * (seconds + 1)  # those of the warm-up of a second too
    return found | {"cpu_ms": 1000 * sum(spent) / answers, "loop": max(spent) / wall}


def cpu_seconds(processes: list[psutil.Process]) -> list[float]:
    """Return the CPU time of each process so far, in seconds."""
    return [process.cpu_times().user + process.cpu_times().system for process in processes]


def wait_until_ready(port: int) -> None:
    """Wait until a service answers a prediction."""
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(REQUEST)
                if b" 200 " in connection.recv(65536)[:20]:
                    time.sleep(1)  # the other workers
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the service does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="of pictures; only its manifest and labels matter")
    parser.add_argument("--run-ms", type=float, nargs="+", default=[0, 2, 10])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--port", type=int, default=23911)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        port, workers, threads, run_ms = options.serve
        serve(options.bundle, int(port), Case(int(workers), int(threads), float(run_ms)))
        return
    print("| run ms | workers | threads | requests/s | ideal | p50 ms | p99 ms | cpu ms | loop | limit |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run_ms in options.run_ms:
        cases = [Case(1, count, run_ms) for count in options.counts]
        cases += [Case(count, 1, run_ms) for count in options.counts if count > 1]
        for number, case in enumerate(cases):
            found = measure(options.bundle, options.port + number, case, options.seconds)
            ideal = f"{1000 * case.workers * case.threads / run_ms:,.0f}" if run_ms else "-"
            figures = (
                f"{found['per_s']:,.0f} | {ideal} | {found['p50_ms']:.2f} | {found['p99_ms']:.2f} | "
                f"{found['cpu_ms']:.3f} | {found['loop']:.2f} | {1000 * case.workers / found['cpu_ms']:,.0f}"
            )
            print(f"| {run_ms:g} | {case.workers} | {case.threads} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
