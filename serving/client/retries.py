"""Which failures are worth another attempt, and how long to wait before it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

BUSY = frozenset({429, 502, 503, 504})
"""Too many requests, and not available: as the service says it, or a gateway before it that finds nobody."""


@dataclass(frozen=True)
class Retries:
    """Exponential back-off with full jitter, so that clients that failed together do not come back together.

    See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. A prediction changes nothing in the service, so
    that asking again is safe even where an answer was lost on its way.

    Args:
        attempts: Requests in all, the first included. With 1 nothing is tried again.
        first_wait_s: Longest wait after the first failure, in seconds. It doubles with every further one.
        longest_wait_s: What it never doubles past, in seconds. The service's own ``Retry-After`` may ask for more.
        attempt_timeout_s: Longest that one attempt may take, in seconds, before it is given up for the next. By default none is.
        statuses: HTTP status codes that are tried again, besides connections that fail.

    Raises:
        ValueError: Fewer than one attempt, or a negative wait.
    """

    attempts: int = 5
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    attempt_timeout_s: float = math.inf
    statuses: frozenset[int] = BUSY

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}, but the first request counts: give at least 1.")
        if not (self.first_wait_s >= 0 and self.longest_wait_s >= 0):
            raise ValueError(f"first_wait_s is {self.first_wait_s} and longest_wait_s is {self.longest_wait_s}; give seconds from 0 up.")

    def wait_s(self, failures: int, retry_after_s: float = 0.0) -> float:
        """Seconds to wait before the next attempt, drawn at random.

        Args:
            failures: Attempts that have failed, from 1.
            retry_after_s: What the service asked for. The jitter comes on top, since it told all its clients the same.
        """
        doubled_s = self.first_wait_s * 2.0 ** min(failures - 1, 62)
        return retry_after_s + random.uniform(0, min(self.longest_wait_s, doubled_s))  # noqa: S311 - spreads load, hides nothing


DEFAULT = Retries()
ONCE = Retries(attempts=1, statuses=frozenset())
UNTIL_READY = Retries(2**62, first_wait_s=0.05, longest_wait_s=0.5, attempt_timeout_s=5.0, statuses=frozenset(range(300, 600)))
"""Only time ends it, and any answer but success is a reason to ask again: a gateway may answer before the service is there."""
