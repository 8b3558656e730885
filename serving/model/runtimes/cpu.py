"""The number of CPUs that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_limit() -> int:
    """Return the number of CPUs that this process may use.

    It is the number of CPUs in the process's affinity mask, further limited by the CPU quota of its container
    (cgroup v2 or v1), rounded down; at least 1.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota))) if quota else count


def _cgroup_quota() -> float | None:
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    except (OSError, ValueError):
        return None
