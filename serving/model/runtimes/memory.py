"""Memory that was freed and that the C library keeps, given back to the system once it is much."""

from __future__ import annotations

import ctypes
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

STATM: Final = Path("/proc/self/statm")
# Below this nothing is given back: taking it again would cost a page fault for each 4 KiB.
MOST_KEPT_BYTES: Final = 64 * 1024 * 1024
EVERY_S: Final = 0.9  # a watch of one second comes a little early now and then


class KeptMemory:
    """What this process holds beyond what it has needed at rest.

    glibc keeps freed blocks of up to 32 MiB for the next who wants one, and those below a block in use for
    ever: some pictures of 49 million pixels at one time left a worker of 150 MB with 900. A fixed threshold
    above which each block is the system's own (``M_MMAP_THRESHOLD``) would prevent it, but made answers to
    pictures of a few million pixels a fifth slower; given back once a second, they cost what they did.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_s = -math.inf
        self._rest_bytes: int | None = None

    def settle(self) -> None:
        """Take what is resident now for what is needed at rest, such as after a model was loaded."""
        give_back()
        self._rest_bytes = resident_bytes()

    def refresh(self) -> bool:
        """Give freed memory back where much more is resident than at rest.

        It may be called as often as one likes: it looks at most once a second.

        Returns:
            Whether that was so.
        """
        if self._clock() - self._looked_s < EVERY_S:
            return False
        self._looked_s = self._clock()
        resident = resident_bytes()
        if self._rest_bytes is None or resident is None:
            return False
        self._rest_bytes = min(self._rest_bytes, resident)
        return resident - self._rest_bytes > MOST_KEPT_BYTES and give_back()


def resident_bytes() -> int | None:
    """Return how much memory of this process is resident, in bytes; None where the system does not say."""
    try:
        pages = int(STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> bool:
    """Give all memory back that is free (malloc_trim(3)); return whether the C library can do that."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another library than glibc, such as musl
        return False
    trim(0)
    return True
