"""Graft's commands in processes of their own, timed, and with the memory that they took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """What a command left.

    Attributes:
        code: Exit code; below 0 where a signal ended it.
        seconds: Seconds that it took.
        peak_mib: The most memory that it held, in MiB.
        log: What it printed.
    """

    code: int
    seconds: float
    peak_mib: float
    log: str


def start(arguments: Sequence[object], log: Path) -> subprocess.Popen[bytes]:
    """Start one of Graft's commands, in a process group of its own.

    Args:
        arguments: Its arguments, without ``graft``.
        log: The file that what it prints goes to.
    """
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def graft(arguments: Sequence[object], log: Path) -> Finished:
    """Carry out one of Graft's commands to its end.

    Args:
        arguments: Its arguments, without ``graft``.
        log: The file that what it prints goes to.
    """
    log.unlink(missing_ok=True)
    begin = time.perf_counter()
    process = start(arguments, log)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    return Finished(process.returncode, seconds, usage.ru_maxrss / 1024, log.read_text(errors="replace"))
