"""How this process was started: alone, or as one of several by ``torchrun`` or ``accelerate launch``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from serving.model.runtimes.machine import cpu_limit


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that a launcher started.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes on all hosts.
        local_count: Number of processes on this host.
    """

    rank: int = 0
    count: int = 1
    local_count: int = 1

    @property
    def is_helper(self) -> bool:
        """Whether this process helps the first one, which alone writes the run and speaks to the user."""
        return self.rank > 0

    @property
    def title(self) -> str:
        """The process as messages name it, such as ``rank 1 of 2``."""
        return f"rank {self.rank} of {self.count}"

    def share_of_threads(self, threads: int) -> int:
        """Return how many of a host's threads are this process's, at least 1."""
        return max(1, threads // self.local_count)


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """Read how this process was started from what a launcher puts into the environment.

    A process is one of several only if both its number and the number of all are there: a ``WORLD_SIZE`` by
    itself is of something else.

    Args:
        environment: The environment; None, the default, for that of this process.
    """
    given = os.environ if environment is None else environment
    rank, count = _number(given, "RANK"), _number(given, "WORLD_SIZE")
    if rank is None or count is None or count < 2:
        return Launch()
    return Launch(rank, count, _number(given, "LOCAL_WORLD_SIZE") or count)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """Return a variable that is a number of 0 or more; None where it is not."""
    value = environment.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def thread_limit(environment: Mapping[str, str] | None = None) -> int:
    """Return how many threads torch may use in this process.

    These are as many as it may use CPUs. Processes that a launcher started share those of their host. A
    process by itself keeps to ``OMP_NUM_THREADS``, as torch does by default; launchers such as torchrun set
    that to 1 whatever the host has, so it does not count there.

    Args:
        environment: The environment; None, the default, for that of this process.
    """
    given = os.environ if environment is None else environment
    launch = launched(given)
    if launch.count > 1:
        return launch.share_of_threads(cpu_limit())
    return max(1, min(cpu_limit(), _number(given, "OMP_NUM_THREADS") or cpu_limit()))
