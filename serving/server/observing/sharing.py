"""What several workers share of their metrics, and what is left of those that died.

The files are prometheus_client's own, which it maps into memory. A write to a mapped page that a full disk
cannot hold ends the process by a signal, so a worker writes its files in full before it maps them, and counts
for itself alone where they find no room.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import Metric, multiprocess, values
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger("graft")
FOLDER: Final = "GRAFT_METRICS_FOLDER"  # where the workers of one service share their metrics
DEATHS: Final = "GRAFT_WORKER_DEATHS"  # workers that died before the one worker of a service that has one
LIBRARYS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
KIB: Final = 1024
# By the start of its name, the size of each file, in bytes. A series takes some 150 of them.
FILE_BYTES: Final = {
    "counter": 1024 * KIB,
    "histogram": 256 * KIB,
    "gauge_livesum": 16 * KIB,
    "gauge_livemax": 256 * KIB,
}
_USED: Final = struct.Struct("i")  # a file begins with the number of bytes that are in use


def make_shared_folder() -> Path | None:
    """Make the folder of a group of workers and name it to them; None where no folder can be made."""
    os.environ.pop(FOLDER, None)  # another group's
    try:
        folder = tempfile.mkdtemp(prefix="graft-metrics-")
    except OSError as error:
        log.warning("metrics: each worker counts for itself alone (%s)", error)
        return None
    os.environ[FOLDER] = folder
    return Path(folder)


def share_metrics() -> Path | None:
    """Choose where this process's metrics are kept, before the first is created.

    Returns:
        The folder that it shares with other workers, or None where it counts for itself alone.
    """
    folder = Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None
    if folder is None or not _reserve(folder):
        values.ValueClass = values.MutexValue
        return None
    os.environ[LIBRARYS_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    return folder


def _reserve(folder: Path) -> bool:
    """Write this worker's files in full; False where they find no room."""
    files = {folder / f"{name}_{os.getpid()}.db": size for name, size in FILE_BYTES.items()}
    try:
        for path, size in files.items():
            # A dead worker may have had the same id; what it counted stays.
            counted = path.read_bytes() if path.exists() else b""
            _name_unfinished(path).write_bytes(counted.ljust(size, b"\0"))
        for path in files:  # others read what has its name
            _name_unfinished(path).replace(path)
    except OSError as error:
        for path in files:
            with suppress(OSError):
                _name_unfinished(path).unlink(missing_ok=True)
        log.warning("metrics: this worker counts for itself alone, since %s: %s", folder, error.strerror)
        return False
    return True


def _name_unfinished(path: Path) -> Path:
    return path.with_suffix(".new")


class SharedMetrics(Collector):
    """Collects the sums over all workers. What dead workers counted stays in them, and their gauges do not.

    Args:
        folder: Folder in which the workers share their metrics.
        without_zeros: Name of a gauge whose series of value 0 are left out.
    """

    def __init__(self, folder: Path, without_zeros: str) -> None:
        self._folder = folder
        self._without_zeros = without_zeros

    def collect(self) -> Iterator[Metric]:
        """Read the files of all workers."""
        dead = [path for path in self._folder.glob("counter_*.db") if not _is_alive(_pid_of(path))]
        for path in dead:
            _forget(path, self._folder)
        for metric in multiprocess.MultiProcessCollector(None, str(self._folder)).collect():  # type: ignore[no-untyped-call]
            if metric.name == self._without_zeros:
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric
        yield count_deaths(len(dead))


class LoneDeaths(Collector):
    """Tells how many workers died before this one, which is the only one of its service."""

    def collect(self) -> Iterator[Metric]:
        """Read what the process that holds the port says."""
        yield count_deaths(int(os.environ.get(DEATHS) or 0))


def count_deaths(count: int) -> Metric:
    """Return the metric of workers that died."""
    return CounterMetricFamily("graft_worker_deaths", "Workers that died and were replaced", value=count)


def _pid_of(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _forget(path: Path, folder: Path) -> None:
    """Remove the gauges of a dead worker, and give back the room that its counts do not take."""
    with suppress(OSError):  # another worker does the same at the same time
        multiprocess.mark_process_dead(_pid_of(path), str(folder))  # type: ignore[no-untyped-call]
        for name in ("counter", "histogram"):
            file = folder / f"{name}_{_pid_of(path)}.db"
            with file.open("rb") as start:
                (used,) = _USED.unpack(start.read(_USED.size))
            if used < file.stat().st_size:
                os.truncate(file, max(used, _USED.size))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
