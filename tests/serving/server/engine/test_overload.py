"""More than the service can do, its orderly end, and the death of its processes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.conftest import free_port, make_picture

pytestmark = pytest.mark.slow
PICTURE = make_picture("bars", 960)
PATIENCE_S = 60


@dataclass(frozen=True)
class Answer:
    """What a request came to: its status, or 0 where the connection broke and -1 where it was refused."""

    status: int
    body: bytes
    retry_after: str | None
    began: float
    ended: float


@dataclass(frozen=True)
class Service:
    """A running one."""

    port: int
    parent: psutil.Popen

    def workers(self) -> list[psutil.Process]:
        return [child for child in self.parent.children() if "--multiprocessing-fork" in child.cmdline()]

    def ask(self, path: str = "/predict", body: bytes = PICTURE, content_type: str = "image/png") -> Answer:
        """One request on a connection of its own."""
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", path, body, {"content-type": content_type})
            answer = connection.getresponse()
            return Answer(
                answer.status, answer.read(), answer.getheader("retry-after"), began, time.monotonic()
            )
        except ConnectionRefusedError:
            return Answer(-1, b"", None, began, time.monotonic())
        except (OSError, HTTPException):
            return Answer(0, b"", None, began, time.monotonic())
        finally:
            connection.close()

    def is_up(self) -> bool:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False


@contextmanager
def serve(run: Path, log: Path, *options: str, workers: int = 1) -> Iterator[Service]:
    """A service, once all of its workers answer. Its processes are all ended, however the test went."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "serve",
        str(run),
        "--port",
        str(port),
        "--workers",
        str(workers),
        *options,
    ]
    with log.open("w") as file:
        service = Service(port, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd="/"))
        processes: list[psutil.Process] = []
        try:
            until(
                lambda: log.read_text().count('"serving tiny') == workers and service.is_up(),
                f"it did not start; {log} says why",
            )
            processes = service.parent.children()
            yield service
        finally:
            with suppress(psutil.NoSuchProcess):
                processes += service.parent.children()
            for process in [service.parent, *processes]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            service.parent.wait()


def until(is_so: Callable[[], bool], otherwise: str, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def make_batch(count: int) -> bytes:
    """A form of so many pictures of nine megapixels, in few bytes.

    Each picture is about a twentieth of a second of work.
    """
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000)).save(buffer, "PNG")
    part = (
        b'--x\r\ncontent-disposition: form-data; name="images"; filename="x"\r\n\r\n'
        + buffer.getvalue()
        + b"\r\n"
    )
    return part * count + b"--x--\r\n"


def ask_many(service: Service, pool: ThreadPoolExecutor, requests: int, batch: bytes) -> list[Future[Answer]]:
    return [
        pool.submit(service.ask, "/predict_batch", batch, "multipart/form-data; boundary=x")
        for _ in range(requests)
    ]


def code_of(answer: Answer) -> str:
    return json.loads(answer.body)["error"]["code"]


def require_recovered(service: Service) -> None:
    """A single request is answered within a second; on a machine that others use too, one of three is."""
    answers = [service.ask() for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert min(answer.ended - answer.began for answer in answers) < 1


def test_service_refuses_at_once_when_the_queue_is_full(tiny_run: Path, tmp_path: Path) -> None:
    with serve(tiny_run, tmp_path / "log", "--max-queue", "2") as service, ThreadPoolExecutor(24) as pool:
        answers = [future.result() for future in ask_many(service, pool, 24, make_batch(12))]
        require_recovered(service)
    accepted, refused = ([answer for answer in answers if answer.status == status] for status in (200, 503))
    print(  # noqa: T201
        f"{len(accepted)} answered, {len(refused)} refused "
        f"within {max(a.ended - a.began for a in refused):.2f} s"
    )
    assert len(accepted) + len(refused) == 24
    assert len(accepted) >= 3
    assert {code_of(answer) for answer in refused} == {"overloaded"}
    assert all(int(answer.retry_after) >= 1 for answer in refused)
    assert sorted(answer.ended for answer in refused)[len(refused) // 2] < max(
        answer.ended for answer in accepted
    ), "others still wait"


def test_service_refuses_when_a_request_waited_past_its_deadline(tiny_run: Path, tmp_path: Path) -> None:
    with (
        serve(tiny_run, tmp_path / "log", "--max-queue", "64", "--deadline", "0.5") as service,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = [future.result() for future in ask_many(service, pool, 16, make_batch(8))]
        ended = time.monotonic()
        require_recovered(service)
        assert time.monotonic() - ended < 5
    refused = [answer for answer in answers if answer.status != 200]
    print(f"{len(answers) - len(refused)} answered, {len(refused)} refused")  # noqa: T201
    assert refused
    assert {(answer.status, code_of(answer)) for answer in refused} == {(503, "deadline_exceeded")}
    assert all(int(answer.retry_after) >= 1 for answer in refused)


@pytest.mark.parametrize("workers", [1, 2])
def test_service_answers_what_it_accepted_when_told_to_end(
    tiny_run: Path, tmp_path: Path, workers: int
) -> None:
    with serve(
        tiny_run, tmp_path / "log", "--max-queue", "64", "--deadline", "60", workers=workers
    ) as service:
        with ThreadPoolExecutor(32) as pool:
            accepted = ask_many(service, pool, 16, make_batch(3))
            wait(accepted, timeout=0.7, return_when=FIRST_COMPLETED)
            assert not all(future.done() for future in accepted), "it was too fast for this test"
            service.parent.send_signal(signal.SIGTERM)
            late = [pool.submit(service.ask) for _ in range(8)]
            statuses = [future.result().status for future in accepted]
            late_statuses = {future.result().status for future in late}
        assert service.parent.wait(PATIENCE_S) == 0
    assert statuses == [200] * 16
    assert late_statuses <= {200, 0, -1}, "a late one is answered, or not accepted"


@pytest.mark.parametrize("workers", [1, 2])
def test_service_replaces_a_worker_when_it_is_killed(tiny_run: Path, tmp_path: Path, workers: int) -> None:
    with serve(tiny_run, tmp_path / "log", workers=workers) as service, ThreadPoolExecutor(8) as pool:
        before = service.workers()
        killed = time.monotonic()
        before[0].kill()
        before[0].wait()
        answers = [
            future.result() for future in [pool.submit(service.ask) for _ in range(8)]
        ]  # at once, while it is dead
        took = max(answer.ended for answer in answers) - killed
        print(  # noqa: T201
            f"{workers} workers: all that came while one was dead were answered after {took:.1f} s"
        )
        assert [answer.status for answer in answers] == [200] * 8
        until(lambda: len(service.workers()) == workers, "the dead worker was not replaced")
        assert before[0].pid not in {worker.pid for worker in service.workers()}


def test_workers_end_when_their_parent_is_killed(tiny_run: Path, tmp_path: Path) -> None:
    with serve(tiny_run, tmp_path / "log") as service:
        (worker,) = service.workers()
        os.kill(service.parent.pid, signal.SIGKILL)
        service.parent.wait()
        until(
            lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE,
            "it lives on, and holds the port",
            within_s=5,
        )
