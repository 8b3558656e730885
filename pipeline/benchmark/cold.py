"""What a fresh process takes to load one artifact and answer once: seconds and memory, with serving's libraries alone.

Run as a program, ``python -m pipeline.benchmark.cold BUNDLE ARTIFACT`` is that process: an input's bytes on
standard input, one line of JSON on standard output. It is one of its own, since a process that trained holds
torch, and cannot give its memory back.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pydantic_core import to_jsonable_python

from pipeline.benchmark.rows import ColdStart
from serving.model.errors import ProviderError, ServingError
from serving.model.predictor import load_predictor
from serving.model.schemas import ErrorDetail

STARTS = 3
TIMEOUT_S = 600
ROOT = Path(__file__).parent.parent.parent


def measure_cold_start(bundle: Path, artifact: str, data: bytes) -> ColdStart:
    """The medians of three starts on one thread.

    Args:
        bundle: The bundle's folder.
        artifact: A published artifact's name.
        data: One input's bytes, to answer.

    Raises:
        ProviderError: The artifact cannot be run here.
    """
    starts = [_start(bundle, artifact, data) for _ in range(STARTS)]
    return ColdStart(
        seconds=statistics.median(start.seconds for start in starts),
        peak_rss_mb=statistics.median(start.peak_rss_mb for start in starts),
    )


def _start(bundle: Path, artifact: str, data: bytes) -> ColdStart:
    command = [sys.executable, "-m", "pipeline.benchmark.cold", str(bundle.absolute()), artifact]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths)
    }  # the same pipeline, from wherever it was started
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(
            "not_loaded", f"{artifact}: no answer within {TIMEOUT_S} s of starting."
        ) from error
    answer = done.stdout.splitlines()
    if (
        done.returncode or not answer
    ):  # a library may end the process, as on an instruction that the CPU lacks
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ProviderError(
            "not_loaded",
            f"{artifact}: ended its process with {_ending(done.returncode)}{said[-1][:200] if said else ''}",
        )
    found = json.loads(answer[-1])
    if "code" in found:
        raise ProviderError(found["code"], found["message"])
    return ColdStart(**found)


def _ending(code: int) -> str:
    return f"signal {-code}. " if code < 0 else f"exit code {code}. "


def answer_once(bundle: Path, artifact: str, data: bytes) -> ColdStart | ErrorDetail:
    """Load an artifact, answer one input, and say what that took in this process; or why it could not."""
    start = time.perf_counter()
    try:
        load_predictor(bundle, artifact=artifact, threads=1).predict(data)
    except ServingError as error:
        return ErrorDetail(code=error.code, message=error.message)
    return ColdStart(time.perf_counter() - start, peak_rss_mb())


def peak_rss_mb() -> float:
    """This process's largest resident memory by now, in MB of 10^6 bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        # Second choice, since Linux lets a new process inherit its parent's figure.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return kib * 1024 / 1e6


if __name__ == "__main__":
    found = answer_once(Path(sys.argv[1]), sys.argv[2], sys.stdin.buffer.read())
    print(json.dumps(to_jsonable_python(found)))  # noqa: T201 - its answer
