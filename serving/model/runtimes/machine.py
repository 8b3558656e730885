"""How much of the machine this process may use: CPUs and memory, less than all of them in a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def cpu_limit() -> int:
    """Return the number of CPUs that this process may use.

    It is the number of CPUs in the process's affinity mask, further limited by the CPU quotas of its
    container (cgroup v2 or v1) and of those around it, rounded down; at least 1.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota))) if quota else count


def memory_limit() -> int | None:
    """Return the number of bytes of memory that this process may use.

    It is the memory of the machine, further limited by that of its container (cgroup v2 or v1) and of those
    around it; None where the system says neither.
    """
    found = [_machine_memory()]
    for folder in _cgroup_folders("memory"):
        found.append(_read_number(folder / "memory.max"))
        found.append(_read_number(folder / "memory.limit_in_bytes"))
    # What is not limited has no number in v2, and one of exabytes in v1, which the machine's is below.
    return min((size for size in found if size is not None and 0 < size < 2**60), default=None)


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no POSIX, or a system without these names
        return None


def _cgroup_quota() -> float | None:
    """Return the least CPU quota, in CPUs; None where there is none."""
    quotas = [_read_quota(folder) for folder in _cgroup_folders("cpu")]
    return min((quota for quota in quotas if quota), default=None)


def _read_quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    quota_us, period_us = (
        _read_number(folder / "cpu.cfs_quota_us"),
        _read_number(folder / "cpu.cfs_period_us"),
    )
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders that may limit this process, those that are not there included.

    In a cgroup namespace, or where a container's own cgroup is mounted, the root of a mount is that of this
    process. Elsewhere it is the machine's, and that of this process is below: each on the way limits it too.
    """
    yield from (CGROUPS, CGROUPS / controller)
    for names, path in _read_membership():
        mounts = [CGROUPS / names, CGROUPS / controller] if names else [CGROUPS, CGROUPS / "unified"]
        parts = [part for part in path.split("/") if part]
        is_of_controller = not names or controller in names.split(",")
        if is_of_controller and ".." not in parts:  # which lead out of what can be seen here
            for mount in mounts:
                yield from (mount.joinpath(*parts[:count]) for count in range(len(parts) + 1))


def _read_membership() -> list[tuple[str, str]]:
    """Return the cgroups of this process: names of v1's controllers, empty for v2, and the cgroup's path."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except (OSError, ValueError):
        return []
    split = (line.split(":", 2) for line in lines)
    return [(parts[1], parts[2]) for parts in split if len(parts) == 3]
