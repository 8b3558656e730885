"""The process that holds the port.

The tests say when it ends, what it does without a terminal, streams or a disk, and who it replaces.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from serving.server.app import components
from serving.server.process.launch import _divide_memory
from serving.server.settings import Settings
from tests.conftest import free_port
from tests.serving.processes import (
    UNSHARE,
    logged_service,
    may_mount,
    predict,
    serve_command,
    started,
    wait_for,
    workers_of,
)

MIB = 1024 * 1024
# As root only a file system that is read-only refuses, and `tempfile` tries the current folder last.
WITHOUT_TEMPORARY_FOLDERS = """
for folder in /tmp /var/tmp /usr/tmp; do
  if [ -d $folder ]; then mount --bind $folder $folder && mount -o remount,bind,ro $folder || exit 9; fi
done
cd /proc && TMPDIR=/proc exec "$@"
"""


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz").status_code == 200


def deaths(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("graft_worker_deaths_total")).split()[1]))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_replaced_told_of_and_counted(
    tiny_run: Path, tmp_path: Path, workers: int
) -> None:
    options = {"GRAFT_LOG_LEVEL": "warning", "TMPDIR": str(tmp_path)}
    with logged_service(
        tiny_run / "bundle", tmp_path / "log", "--workers", str(workers), **options
    ) as service:
        before = wait_for(lambda: len(found := workers_of(service.process)) == workers and found)
        assert deaths(service.url) == 0
        killed = min(before)
        psutil.Process(killed).suspend()
        time.sleep(0.7)  # it is asked twice a second whether it is alive, and dies before it answers
        psutil.Process(killed).kill()
        wait_for(lambda: len(found := workers_of(service.process)) == workers and killed not in found)
        wait_for(lambda: deaths(service.url) == 1)
        assert predict(service.url, 4) == {200}
        (line,) = service.lines()
        assert line["level"] == "warning"
        assert line["message"] == f"worker {killed} died (exit code -9); another takes its place"
    assert not list(tmp_path.glob("graft-metrics-*"))


@pytest.mark.slow
def test_sighup_ends_the_service_and_its_workers(tiny_run: Path, tmp_path: Path) -> None:
    with logged_service(tiny_run / "bundle", tmp_path / "log", "--workers", "2") as service:
        workers = wait_for(lambda: len(found := workers_of(service.process)) == 2 and found)
        service.process.send_signal(signal.SIGHUP)
        assert service.process.wait(20) == 0
        assert psutil.wait_procs(workers.values(), 5)[1] == []
        assert not [line for line in service.lines() if " died " in line["message"]], (
            "they ended because they should"
        )


@contextmanager
def in_terminal(command: list[str], log: Path | None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command as the leader of a terminal's session.

    Its log goes to the terminal unless a file is named.
    """
    master, slave = pty.openpty()
    with (log or Path(os.ttyname(slave))).open("wb", buffering=0) as out:
        process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
            # Nothing else runs in a thread here.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
    os.close(slave)
    try:
        yield process, master
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_closed_terminal_ends_the_service(tiny_run: Path) -> None:
    port = free_port()
    with in_terminal(serve_command(tiny_run / "bundle", "--port", port), None) as (process, master):
        wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"))
        workers = workers_of(process)
        os.close(master)
        process.wait(20)
        assert psutil.wait_procs(workers.values(), 5)[1] == []


@pytest.mark.slow
def test_nohup_keeps_the_service(tiny_run: Path, tmp_path: Path) -> None:
    port = free_port()
    command = ["nohup", *serve_command(tiny_run / "bundle", "--port", port)]
    with in_terminal(command, tmp_path / "log") as (process, master):
        wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"))
        workers = set(workers_of(process))
        os.close(master)
        time.sleep(1.5)  # signals are looked at twice a second
        assert is_ready(f"http://127.0.0.1:{port}")
        assert set(workers_of(process)) == workers
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.slow
def test_a_service_without_standard_streams_serves_and_ends(tiny_run: Path, tmp_path: Path) -> None:
    """A pipe between processes must not get the number of a missing stream.

    The log would be written into it.
    """
    port = free_port()
    command = [
        "sh",
        "-c",
        'exec "$@" <&- >&- 2>&-',
        "sh",
        *serve_command(tiny_run / "bundle", "--port", port, "--workers", 2),
    ]
    with started(command, tmp_path / "log") as process:
        wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"))
        workers = wait_for(lambda: len(found := set(workers_of(process))) == 2 and found)
        assert predict(f"http://127.0.0.1:{port}", 20) == {200}
        time.sleep(1.5)  # in which each worker is asked whether it is alive
        assert set(workers_of(process)) == workers
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_without_temporary_folders_starts(tiny_run: Path, tmp_path: Path, workers: int) -> None:
    if not may_mount():
        pytest.skip("no mount namespace may be made here")
    port, log = free_port(), tmp_path / "log"
    command = serve_command(tiny_run / "bundle", "--port", port, "--workers", workers)
    with started([*UNSHARE, "sh", "-c", WITHOUT_TEMPORARY_FOLDERS, "sh", *command], log):
        wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"))
        assert predict(f"http://127.0.0.1:{port}", 4) == {200}
        assert deaths(f"http://127.0.0.1:{port}") == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warnings = [line["message"] for line in lines if line["level"] == "warning"]
    assert len(warnings) == workers - 1
    assert all("counts for itself alone" in warning for warning in warnings)


def test_workers_divide_the_memory_for_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "memory_limit", lambda: 1024 * MIB)
    settings = Settings(bundle=Path("x"))
    assert components.share_memory() == 128 * MIB
    assert _divide_memory(settings, 4).max_buffered_bytes == 32 * MIB
    given = settings.model_copy(update={"max_buffered_bytes": 7})
    assert _divide_memory(given, 4) == given
    monkeypatch.setattr(components, "memory_limit", lambda: None)
    assert components.share_memory(4) == 512 * MIB
