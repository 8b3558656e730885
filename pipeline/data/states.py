"""Content hashes of the data's files, remembered: a file that is as it was costs a look at its state only."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.files.tables import read_table, write_table
from pipeline.reporting.progress import track
from serving.model.runtimes.machine import cpu_limit

HASHED_AT_ONCE = 256
# A change so soon after another may leave the times as they are: file systems count them in steps.
SETTLED_AFTER_NS = 2_000_000_000


def hash_unchanged(files: Mapping[str, Path], record: Path) -> dict[str, str]:
    """Return the SHA-256, in hexadecimal, of each file that can be read, by its name.

    A file is read only if its size or its times of change are others than those in the record. The time of
    the last change of its entry (``ctime``) is one of them, which nobody can set: copies, and files whose
    other time was set to what it had been, are read.

    Args:
        files: The files by their names.
        record: The table of what was found before, which is brought up to date.
    """
    now = time.time_ns()
    states = {name: state for name, path in files.items() if (state := _state_of(path))}
    known = _recall(record, states)
    changed = [name for name in states if name not in known]
    hashes = known | dict(_hash_all(changed, files))
    kept = [name for name in hashes if now - int(states[name].rpartition(" ")[2]) > SETTLED_AFTER_NS]
    if any(name not in known for name in kept) or (changed and not kept):
        write_table(record, ("source", "state", "sha256"), lambda: ((n, states[n], hashes[n]) for n in kept))
    return {name: hashes[name] for name in files if name in hashes}


def _state_of(path: Path) -> str:
    """Return a file's size in bytes and its two times of change in nanoseconds; nothing if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # the latter for a name that no file can have
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _recall(record: Path, states: Mapping[str, str]) -> dict[str, str]:
    """Return the remembered hashes of the files that are in the same state as then."""
    if not record.is_file():
        return {}
    rows = read_table(record)
    return {row["source"]: row["sha256"] for row in rows if states.get(row["source"]) == row["state"]}


def _hash_all(names: Sequence[str], files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield the names and hashes of the files that can be read."""

    def hash_some(start: int) -> list[tuple[str, str]]:
        some = names[start : start + HASHED_AT_ONCE]
        return [(name, sha256) for name in some if (sha256 := _hash(files[name]))]

    starts = range(0, len(names), HASHED_AT_ONCE)
    with ThreadPoolExecutor(cpu_limit()) as pool:
        batches = pool.map(hash_some, starts)
        for batch in track(batches, total=len(names), what="data", unit="files", weight=HASHED_AT_ONCE):
            yield from batch


def _hash(path: Path) -> str:
    """Return the hash of a file; nothing if it cannot be read, which the audit will report."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
