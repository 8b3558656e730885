"""Workers start before what they shall serve has been checked, and wait until it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, free_port
from tests.serving.processes import wait_for

WAITING = """
import multiprocessing, os, sys
from pathlib import Path
from serving.server.process import launch
from serving.server.process.listening import Listening
from serving.server.settings import Settings

def check(*_):
    print("checking", flush=True)
    sys.stdin.read()

launch._require_all = check
if __name__ == "__main__":
    launch.serve(Settings(bundle=Path("nowhere"), log_level="debug"), Listening(port=int(sys.argv[1])))
"""


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [process] if process.environ().get("MARK") == mark else []
        except psutil.Error:
            continue
    return found


def test_workers_are_gone_and_have_said_nothing_when_what_they_should_serve_is_refused(
    tmp_path: Path,
) -> None:
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "serving", str(tmp_path), "--port", str(free_port())]
    environment = os.environ | {"MARK": mark, "PYTHONPATH": str(ROOT), "GRAFT_LOG_LEVEL": "debug"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    wait_for(lambda: not marked(mark))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's prctl")
def test_a_worker_that_waits_ends_with_the_process_that_holds_the_port() -> None:
    mark, port = uuid.uuid4().hex, free_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MARK": mark, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"checking\n"
    wait_for(lambda: len(marked(mark)) >= 3)  # the parent, its worker, and multiprocessing's tracker
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not marked(mark))
