"""The cold start of an artifact: the seconds and the memory that a fresh process takes to answer once.

``python -m pipeline.benchmark.cold BUNDLE ARTIFACT`` is that process, which loads serving's libraries alone.
It reads an input's bytes from standard input and writes one line of JSON to standard output. The process is
one of its own, since one that trained holds torch, and cannot give its memory back.
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
    """Measure the medians of three cold starts on one thread.

    Args:
        bundle: The bundle's folder.
        artifact: A published artifact's name.
        data: The bytes of the input that is answered.

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
    # The process loads this same pipeline, wherever the command was started.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    try:
        process = subprocess.run(
            command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(
            "not_loaded", f"{artifact}: no answer within {TIMEOUT_S} s of starting."
        ) from error
    answer = process.stdout.splitlines()
    # A library may end the process, such as on an instruction that the CPU lacks.
    if process.returncode or not answer:
        errors = process.stderr.decode(errors="replace").strip().splitlines()
        reason = errors[-1][:200] if errors else ""
        raise ProviderError(
            "not_loaded", f"{artifact}: ended its process with {_ending(process.returncode)}{reason}"
        )
    document = json.loads(answer[-1])
    if "code" in document:
        raise ProviderError(document["code"], document["message"])
    return ColdStart(**document)


def _ending(code: int) -> str:
    """Describe the exit code of a process; a negative one is that of a signal."""
    return f"signal {-code}. " if code < 0 else f"exit code {code}. "


def answer_once(bundle: Path, artifact: str, data: bytes) -> ColdStart | ErrorDetail:
    """Load an artifact and answer one input in this process.

    Args:
        bundle: The bundle's folder.
        artifact: A published artifact's name.
        data: The input's bytes.

    Returns:
        The seconds and the memory that it took, or the reason why it could not be done.
    """
    start = time.perf_counter()
    try:
        load_predictor(bundle, artifact=artifact, threads=1).predict(data)
    except ServingError as error:
        return ErrorDetail(code=error.code, message=error.message)
    return ColdStart(time.perf_counter() - start, peak_rss_mb())


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process by now, in MB of 10^6 bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        # Second choice, since Linux lets a new process inherit its parent's figure.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return kib * 1024 / 1e6


if __name__ == "__main__":
    outcome = answer_once(Path(sys.argv[1]), sys.argv[2], sys.stdin.buffer.read())
    print(json.dumps(to_jsonable_python(outcome)))  # noqa: T201 - the process that started this one reads it
