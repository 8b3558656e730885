"""The memory of the bodies that a service holds.

The tests say what a batch costs, and that a container's limit is kept to.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import psutil
import pytest

from serving.model.runtimes import machine
from serving.server.app import components
from serving.server.app.components import open_components
from serving.server.settings import Settings
from tests.conftest import free_port, serving

MIB = 1024 * 1024
LIMIT_MIB = 512
CONTROLLER = Path("/sys/fs/cgroup/memory")
HEAD = b'--x\r\ncontent-disposition: form-data; name="images"; filename="x"\r\n\r\n'
TYPE = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("limit_mib", "given", "most_mib", "buffered_mib"),
    [
        (None, None, 8, 512),
        (65536, None, 8, 512),
        (512, None, 8, 64),
        (40, None, 5, 5),
        (512, 300 * MIB, 8, 300),
        (512, 2 * MIB, 2, 2),
    ],
)
def test_body_limits_follow_the_memory_of_the_container(
    monkeypatch: pytest.MonkeyPatch,
    limit_mib: int | None,
    given: int | None,
    most_mib: int,
    buffered_mib: int,
) -> None:
    monkeypatch.setattr(components, "memory_limit", lambda: None if limit_mib is None else limit_mib * MIB)
    limits = open_components(Settings(bundle=Path("nowhere"), max_buffered_bytes=given)).body_limits()
    assert (limits.max_bytes, limits.max_buffered_bytes) == (most_mib * MIB, buffered_mib * MIB)


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group of 512 MiB below this process's own; the test is skipped where none can be made."""
    own = next((path for names, path in machine._read_membership() if "memory" in names.split(",")), None)
    folder = CONTROLLER / (own or "").strip("/") / f"graft-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT_MIB * MIB))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no control group of v1 can be made here: {error}")
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group once the kernel has let go of the processes that have ended in it."""
    until = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@pytest.fixture
def limited(tiny_run: Path, tmp_path: Path) -> Iterator[tuple[int, psutil.Process, Path]]:
    """A service in such a group: its port, the process that answers, and the group."""
    port = free_port()
    with control_group() as group:
        enter = f'echo $$ > "{group}/cgroup.procs" && exec "$@" > "{tmp_path}/log" 2>&1'
        command = [
            "sh",
            "-c",
            enter,
            "sh",
            sys.executable,
            "-m",
            "serving",
            str(tiny_run / "bundle"),
            "--port",
            str(port),
        ]
        with serving(command, port):
            (parent,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
            (worker,) = [child for child in parent.children() if "--multiprocessing-fork" in child.cmdline()]
            yield port, worker, group


def peak_mib(worker: psutil.Process) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def batch(megabytes: int) -> bytes:
    """As many files of a megabyte that are no pictures."""
    return (HEAD + bytes(1_000_000) + b"\r\n") * megabytes + b"--x--\r\n"


def ask(port: int, body: bytes) -> tuple[int, bytes]:
    """The answer, which may come before all of the body is sent."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict_batch", body, TYPE)
        answer = connection.getresponse()
    except ConnectionError:
        assert connection.sock
        answer = HTTPResponse(connection.sock)
        answer.begin()
    with answer:
        return answer.status, answer.read()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has control groups")
def test_service_lives_when_ten_batches_come_at_once_in_a_small_container(
    limited: tuple[int, psutil.Process, Path],
) -> None:
    port, worker, group = limited
    body, before = batch(59), peak_mib(worker)
    assert ask(port, body)[0] == 200
    once = peak_mib(worker)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ask(port, body), range(10)))
    statuses = [status for status, _ in answers]
    print(  # noqa: T201 - with -s
        f"peak {before:.0f} MiB, {once:.0f} MiB after one batch, "
        f"{peak_mib(worker):.0f} MiB after ten; {statuses}"
    )
    assert set(statuses) <= {200, 503}
    assert all(
        json.loads(answer)["error"]["code"] == "overloaded" for status, answer in answers if status == 503
    )
    assert ask(port, body)[0] == 200
    assert worker.is_running()
    assert "oom_kill 0" in (group / "memory.oom_control").read_text()
    assert once - before < 1.25 * len(body) / MIB, "files are held more than once"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has control groups")
def test_service_names_the_true_limit_when_a_body_can_never_fit(
    limited: tuple[int, psutil.Process, Path],
) -> None:
    port, *_ = limited
    status, answer = ask(port, batch(70))
    assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")
    assert f"{LIMIT_MIB * MIB // 8:,} bytes" in json.loads(answer)["error"]["message"]
