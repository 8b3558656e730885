"""The service as the first process of a container, which the kernel lets ignore what it does not handle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.package.container.processes import inner_processes
from tests.conftest import ROOT
from tests.containers import why_not

SLOW_TO_IMPORT = "import time; print('importing', flush=True); time.sleep(30)"


def test_first_process_ends_when_it_is_told_to_while_it_starts(tmp_path: Path) -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    (tmp_path / "click.py").write_text(SLOW_TO_IMPORT)  # in the place of the real one, on a slow disk
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "serving", "/models"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        (first,) = inner_processes(process.pid)
        os.kill(first, signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
