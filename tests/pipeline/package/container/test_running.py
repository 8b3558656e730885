"""How a container is started, watched and ended, with a small server in the place of an image's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import GraftError, IsolationError
from pipeline.package.container import isolation, running
from pipeline.package.container.processes import inner_processes
from pipeline.package.container.running import Limits
from pipeline.package.container.unpacking import Unpacked

SERVER = """
import http.server, os, sys
print(sorted(os.sched_getaffinity(0)), file=open(sys.argv[1], "w"), flush=True)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer.allow_reuse_address = False
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unpacked:
    """An image whose command is the small server, which a shell holds as the isolation would."""
    monkeypatch.setattr(running, "require_isolation", lambda: None)
    monkeypatch.setattr(running, "isolate", lambda *_: ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command])
    command = [sys.executable, "-I", "-c", SERVER, str(tmp_path / "cpus")]
    return Unpacked(tmp_path, tuple(command), {}, 0)


def test_one_cpu_is_all_that_it_has_from_its_first_step_on(image: Unpacked) -> None:
    before = os.sched_getaffinity(0)
    with running.running(image, Limits(cpus=1)) as service:
        (inner,) = inner_processes(service.pid)
        assert (image.root / "cpus").read_text().strip() == str(sorted(before)[:1])
        assert os.sched_getaffinity(service.pid) == os.sched_getaffinity(inner) == set(sorted(before)[:1])
    assert os.sched_getaffinity(0) == before
    assert not Path(f"/proc/{inner}").exists(), "it was asked to end"


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """The port of somebody else's server, which is ready."""
    command = [sys.executable, "-I", "-c", SERVER, str(tmp_path / "other")]
    port = 19_000 + os.getpid() % 900
    process = subprocess.Popen(command, env={"PORT": str(port)})
    while not (tmp_path / "other").exists():
        time.sleep(0.01)
    yield port
    process.send_signal(signal.SIGTERM)
    process.wait()


def test_answer_of_somebody_else_is_not_taken_for_its_own(
    image: Unpacked, stranger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_free_port", lambda: stranger)
    refused = pytest.raises(GraftError, match=r"has ended .*Address already in use")
    with refused, running.running(image, Limits()):
        pytest.fail("it does not run")


def test_two_processes_look_for_ports_in_different_places(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []
    for pid in (100, 101, 102):
        monkeypatch.setattr(running.os, "getpid", lambda pid=pid: pid)
        ports.append(running._free_port())
    assert len(set(ports)) == 3


def test_machine_that_isolates_nothing_is_told_apart_from_a_container_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "unshare"
    program.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "setpriv").symlink_to(program)
    (tmp_path / "bwrap").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(IsolationError, match="nothing can be isolated: unshare failed: Operation not"):
        isolation.require_isolation()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(IsolationError, match="it takes root, or the program bwrap"):
        isolation.require_isolation()


def test_bubblewrap_starts_the_service_itself_so_that_signals_reach_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isolation, "_is_root", lambda: False)
    monkeypatch.setattr(isolation.shutil, "which", lambda name: f"/usr/bin/{name}")
    command = isolation.isolate(tmp_path, ["/usr/bin/python3.11"], isolation.Isolation(65532))
    assert "--as-pid-1" in command
