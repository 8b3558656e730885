"""A trial of a container that answers, refuses, falls silent or ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.budget import measuring, trial
from pipeline.budget.trial import Inputs, try_image
from pipeline.errors import GraftError, IsolationError
from pipeline.package.container.running import Running
from pipeline.run.runner import open_run
from serving.model.inputs.registry import find_kind

pytestmark = pytest.mark.slow
INPUTS = Inputs((b"one", b"two"))


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.status == 0:
            self.close_connection = True  # without a word
            return
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that stands for the container; this process stands for its processes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    @contextmanager
    def unpacked(_: Path) -> Iterator[None]:
        yield

    @contextmanager
    def running(*_: object) -> Iterator[Running]:
        yield Running(server.server_port, 1, True, 0.5)

    monkeypatch.setattr(trial, "unpacked", unpacked)
    monkeypatch.setattr(trial, "running", running)
    monkeypatch.setattr(trial, "inner_processes", lambda _: [os.getpid()])
    monkeypatch.setattr(trial, "REQUESTS", 30)
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_missing_samples_cost_the_latencies_alone(port: int) -> None:
    done = try_image(Path(), find_kind("image"), Inputs((), "no sample can be sent: gone"))
    assert (done.latencies_ms, done.without_latencies) == ((), "no sample can be sent: gone")
    assert done.cold_starts_s == (0.5, 0.5, 0.5)
    assert done.memory_mb > 1


def test_container_that_answers_is_timed(port: int) -> None:
    assert len(try_image(Path(), find_kind("image"), INPUTS).latencies_ms) == 30


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "with 500"), (415, "with 415"), (0, "has not answered")]
)
def test_container_that_refuses_or_hangs_up_is_told(
    port: int, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    with pytest.raises(GraftError, match=reason):
        try_image(Path(), find_kind("image"), INPUTS)


@pytest.mark.parametrize("processes", [[], [2**22 + 1]])
def test_process_that_has_ended_is_told(
    port: int, monkeypatch: pytest.MonkeyPatch, processes: list[int]
) -> None:
    monkeypatch.setattr(trial, "inner_processes", lambda _: processes)
    with pytest.raises(GraftError, match="has ended while it was measured"):
        try_image(Path(), find_kind("image"), INPUTS)


@pytest.mark.parametrize(
    ("error", "failed"), [(GraftError("it has ended"), True), (IsolationError("no root"), False)]
)
def test_only_a_machine_that_cannot_isolate_measures_nothing(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, error: GraftError, failed: bool
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(measuring, "try_image", fail)
    figures = measuring._try(open_run(tiny_run), Path())
    assert [(figure.note, figure.failed, figure.passed) for figure in figures] == [
        (str(error), failed, not failed)
    ] * 3
