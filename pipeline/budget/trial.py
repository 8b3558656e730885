"""A trial of an image: it is started, answers real samples, and is stopped."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.package.container.processes import inner_processes
from pipeline.package.container.running import Limits, Running, running, unpacked
from pipeline.reporting.progress import track
from serving.model.inputs.kind import FileBody, InputKind

STARTS = 3
WARM = 20
REQUESTS = 1000
SECONDS = 20.0
TIMEOUT_S = 60
NO_REQUEST = "{kind} input cannot be sent as the body of a request"


@dataclass(frozen=True)
class Trial:
    """How an image ran.

    Attributes:
        cold_starts_s: Time from each start to the first answer that it is ready, in seconds.
        memory_mb: Resident memory of all its processes together after the predictions, in MB of 10^6 bytes.
        memory_of: What that memory is of.
        latencies_ms: Time of each prediction over HTTP, one after another, in milliseconds.
        without_latencies: Why there are none, where there are none; empty otherwise.
    """

    cold_starts_s: tuple[float, ...]
    memory_mb: float
    memory_of: str
    latencies_ms: tuple[float, ...]
    without_latencies: str = ""


@dataclass(frozen=True)
class Inputs:
    """What an image is asked to predict.

    Attributes:
        samples: Inputs that are sent in turn.
        missing: Why there are none, where there are none.
    """

    samples: tuple[bytes, ...]
    missing: str = ""


def try_image(layout: Path, kind: InputKind, inputs: Inputs) -> Trial:
    """Start an image three times with one CPU, and ask it for predictions the last time.

    Args:
        layout: The folder of its OCI layout.
        kind: The kind of input that it takes.
        inputs: What it is asked to predict.

    Raises:
        IsolationError: It cannot be run here.
        GraftError: It does not get ready, ends, or refuses a sample.
    """
    starts = []
    media_type = _media_type(kind)
    without = inputs.missing or ("" if media_type else NO_REQUEST.format(kind=kind.name))
    with unpacked(layout) as image:
        for _ in range(STARTS - 1):
            with running(image, Limits(cpus=1)) as service:
                starts.append(service.ready_s)
        with running(image, Limits(cpus=1)) as service:
            starts.append(service.ready_s)
            latencies = _ask(service, media_type, inputs.samples) if media_type and not without else ()
            processes = inner_processes(service.pid)
            memory = _sum_memory(processes)
    return Trial(
        cold_starts_s=tuple(starts),
        memory_mb=memory / 1e6,
        memory_of=f"{len(processes)} processes after {len(latencies):,} predictions",
        latencies_ms=latencies,
        without_latencies=without,
    )


def _media_type(kind: InputKind) -> str | None:
    """Return the media type of a raw body that holds one input; None where there is no such."""
    if isinstance(kind.body, FileBody):
        return "application/octet-stream"
    return "text/plain; charset=utf-8" if kind.body.accepts_plain_text else None


def _ask(service: Running, media_type: str, samples: Sequence[bytes]) -> tuple[float, ...]:
    """Send samples over one connection until enough were answered, and return the times after warming up."""
    latencies: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT_S)
    end = time.perf_counter() + SECONDS
    requests = track(range(WARM + REQUESTS), total=WARM + REQUESTS, what="budget", unit="requests")
    for _, sample in zip(requests, cycle(samples)):
        start = time.perf_counter()
        _post(connection, media_type, sample)
        latencies.append((time.perf_counter() - start) * 1000)
        if time.perf_counter() > end and len(latencies) > 2 * WARM:
            break
    connection.close()
    return tuple(latencies[WARM:])


def _post(connection: http.client.HTTPConnection, media_type: str, sample: bytes) -> None:
    try:
        connection.request("POST", "/predict", body=sample, headers={"Content-Type": media_type})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:  # it ended, or took too long
        reason = str(error) or type(error).__name__
        raise GraftError(f"The container has not answered a sample of the test split: {reason}.") from error
    if answer.status != http.client.OK:
        raise GraftError(f"The container has answered a sample of the test split with {answer.status}.")


def _sum_memory(processes: Sequence[int]) -> int:
    """Return the memory of processes in bytes, in which what several share is divided among them (PSS)."""
    try:
        texts = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes]
    except OSError as error:
        raise GraftError(f"A process of the container has ended while it was measured ({error}).") from error
    lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
    if not lines or len(lines) < len(processes):  # one that has ended has no memory
        raise GraftError("A process of the container has ended while it was measured.")
    return sum(int(line.split()[1]) * 1024 for line in lines)
