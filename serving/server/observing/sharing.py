"""What several workers share of their metrics, and what is left of those that died.

The files are prometheus_client's own, which it maps into memory. A write to a mapped page that a full disk
cannot hold ends the process by a signal, so a worker writes its files in full before it maps them, and counts
for itself alone where they find no room. It holds a lock on one of them while it lives, because the id of a
dead process is given to others. A worker that starts adds up what dead ones left, which would fill the disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client import Metric, values
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = logging.getLogger("graft")
FOLDER: Final = "GRAFT_METRICS_FOLDER"  # where the workers of one service share their metrics
DEATHS: Final = "GRAFT_WORKER_DEATHS"  # workers that died before the one worker of a service that has one
DEATHS_FILE: Final = "deaths"  # in a shared folder, how many the process that replaces workers has counted
PREFIX: Final = "graft-metrics-"  # of the names of folders
WORKERS_FILES: Final = "counter_[0-9]*.db"  # on which workers that live hold a lock
LIBRARYS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
KIB: Final = 1024
# By the start of its name, the size of each file, in bytes. A series takes some 150 of them.
FILE_BYTES: Final = {
    "counter": 1024 * KIB,
    "histogram": 256 * KIB,
    "gauge_livesum": 16 * KIB,
    "gauge_livemax": 256 * KIB,
}
LASTING: Final = ("histogram", "counter")  # kinds of which the counts of the dead stay
DEATHS_METRIC: Final = "graft_worker_deaths"
DEATHS_TEXT: Final = "Workers that died and were replaced"
_HEADER: Final = struct.Struct("i4x")  # a file begins with the number of bytes that are in use
_LENGTH: Final = struct.Struct("i")
_VALUE: Final = struct.Struct("dd")  # and the time, which only gauges have


def make_shared_folder() -> Path | None:
    """Make the folder of a group of workers and name it to them; None where no folder can be made."""
    os.environ.pop(FOLDER, None)  # another group's
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError as error:
        log.warning("metrics: each worker counts for itself alone (%s)", error)
        return None
    os.environ[FOLDER] = folder
    return Path(folder)


def tell_deaths(count: int) -> None:
    """Tell the workers of a service how many of them died, also those that had not come to share metrics.

    Args:
        count: Number of all workers that died so far.
    """
    os.environ[DEATHS] = str(count)
    if folder := os.environ.get(FOLDER):
        place, unfinished = Path(folder, DEATHS_FILE), Path(folder, f"{DEATHS_FILE}.partial")
        try:
            unfinished.write_text(str(count))
            unfinished.replace(place)
        except OSError:  # without room the dead are counted by the files that they left
            unfinished.unlink(missing_ok=True)
            place.unlink(missing_ok=True)


def share_metrics() -> Path | None:
    """Choose where this process's metrics are kept, before the first is created.

    Returns:
        The folder that it shares with other workers, or None where it counts for itself alone.
    """
    folder = Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None
    if folder is None or not _join(folder):
        values.ValueClass = values.MutexValue
        return None
    os.environ[LIBRARYS_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    return folder


def _join(folder: Path) -> bool:
    """Make this worker one of those that share a folder; False where that is not possible."""
    try:
        with _lock(folder, fcntl.LOCK_EX):
            with suppress(OSError):  # without room for their sum, the files of the dead stay as they are
                _add_up_dead(folder)
            _reserve(folder)
    except OSError as error:
        log.warning("metrics: this worker counts for itself alone, since %s: %s", folder, error.strerror)
        return False
    return True


@contextmanager
def _lock(folder: Path, kind: int) -> Iterator[None]:
    """Keep a worker that starts from removing the files that another reads."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _reserve(folder: Path) -> None:
    """Write this worker's files in full; raises OSError, and leaves none, where they find no room."""
    files = {folder / f"{name}_{os.getpid()}.db": size for name, size in FILE_BYTES.items()}
    try:
        for path, size in files.items():
            _write(path, bytes(size))
        held = os.open(folder / f"counter_{os.getpid()}.db", os.O_RDONLY)  # until this process ends
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".new")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _find_dead(folder: Path) -> list[str]:
    """Return the ids of workers that died since the last one started."""
    return [path.stem.rpartition("_")[2] for path in folder.glob(WORKERS_FILES) if not is_held(path)]


def is_held(path: Path) -> bool:
    """Return whether a process that lives holds a lock on a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _add_up_dead(folder: Path) -> None:
    """Put what dead workers counted, and how many they are, into one file a kind, and remove theirs."""
    for path in folder.glob("*.new"):  # of one that died when it wrote
        path.unlink()
    dead = _find_dead(folder)
    for pid in dead:
        for path in folder.glob(f"gauge_*_{pid}.db"):
            path.unlink()
    for kind in LASTING if dead else ():  # the counters last, by which the dead are found
        files, total = [folder / f"{kind}_{pid}.db" for pid in dead], folder / f"{kind}_dead.db"
        sums = _add_up([path for path in (*files, total) if path.exists()])
        if kind == "counter":
            sums[mmap_key(DEATHS_METRIC, f"{DEATHS_METRIC}_total", [], [], DEATHS_TEXT)] += len(dead)
        _write(total, _pack(sums))
        for path in files:
            path.unlink(missing_ok=True)


def _add_up(files: list[Path]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for path in files:
        for key, value, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            sums[key] += value
    return sums


def _pack(sums: Mapping[str, float]) -> bytes:
    """Return what a file with these values holds; mapping it would need room that is not there yet."""
    content = b""
    for key, value in sums.items():
        name = key.encode()
        padded = name + b" " * (8 - (len(name) + _LENGTH.size) % 8)
        content += _LENGTH.pack(len(name)) + padded + _VALUE.pack(value, 0.0)
    return _HEADER.pack(_HEADER.size + len(content)) + content


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
        """Read the files of all workers; raises FileNotFoundError where somebody removed the folder."""
        metrics, deaths = self._read()
        for metric in metrics:
            if metric.name == self._without_zeros:
                metric.samples = [sample for sample in metric.samples if sample.value]
            if metric.name == DEATHS_METRIC:
                deaths += sum(sample.value for sample in metric.samples)
            else:
                yield metric
        told = self._read_told()
        yield count_deaths(deaths if told is None else told)

    def _read_told(self) -> int | None:
        """Return the number of deaths that was told; None where nobody replaces workers, as in BentoML."""
        try:
            return int((self._folder / DEATHS_FILE).read_text())
        except (OSError, ValueError):
            return None

    def _read(self) -> tuple[list[Metric], float]:
        with _lock(self._folder, fcntl.LOCK_SH):
            dead = _find_dead(self._folder)
            gone = {path for pid in dead for path in self._folder.glob(f"gauge_*_{pid}.db")}
            files = [str(path) for path in self._folder.glob("*.db") if path not in gone]
            return list(MultiProcessCollector.merge(files)), len(dead)  # type: ignore[no-untyped-call]


class LoneDeaths(Collector):
    """Tells how many workers died before this one, which is the only one of its service."""

    def collect(self) -> Iterator[Metric]:
        """Read what the process that holds the port says."""
        yield count_deaths(int(os.environ.get(DEATHS) or 0))


def count_deaths(count: float) -> Metric:
    """Return the metric of workers that died."""
    return CounterMetricFamily(DEATHS_METRIC, DEATHS_TEXT, value=count)
