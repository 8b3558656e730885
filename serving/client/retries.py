"""The retry policy: which failures are worth another attempt, and how long to wait before it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

BUSY = frozenset({429, 502, 503, 504})
"""HTTP status codes of a temporary failure.

The service itself sends them, or a gateway in front of it that cannot reach it.
"""


@dataclass(frozen=True)
class Retries:
    """Exponential back-off with full jitter, so that clients that fail together do not retry together.

    See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. A prediction changes
    nothing in the service, so that retrying is safe even when a response was lost on its way.

    Args:
        attempts: Largest number of attempts, the first included. The default is 5; 1 stands for no retries.
        first_wait_s: Longest wait after the first failure, in seconds. It doubles with every further failure.
            The default is 0.1.
        longest_wait_s: Limit of that doubling, in seconds. The service's ``Retry-After`` may ask for a longer
            wait. The default is 5.
        attempt_timeout_s: Longest time that one attempt may take, in seconds, before it is given up for the
            next. By default only the time for all attempts limits it.
        statuses: HTTP status codes that are retried, in addition to failed connections and timeouts. The
            default is 429, 502, 503 and 504.

    Raises:
        ValueError: There is less than one attempt, or a wait is negative or not a number.
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
            text = f"first_wait_s is {self.first_wait_s} and longest_wait_s is {self.longest_wait_s}"
            raise ValueError(f"{text}: give at least 0 seconds.")

    def wait_s(self, failures: int, retry_after_s: float = 0.0) -> float:
        """Return the time to wait before the next attempt, in seconds, drawn at random.

        Args:
            failures: Number of attempts that failed, at least 1.
            retry_after_s: Time that the service asked to wait, in seconds. The random wait is added to it,
                since the service asks all its clients for the same time.
        """
        doubled_s = self.first_wait_s * 2.0 ** min(failures - 1, 62)
        longest_s = min(self.longest_wait_s, doubled_s)
        return retry_after_s + random.uniform(0, longest_s)  # noqa: S311 - it spreads load, and hides nothing


DEFAULT = Retries()
ONCE = Retries(attempts=1, statuses=frozenset())
UNTIL_READY = Retries(
    2**62, first_wait_s=0.05, longest_wait_s=0.5, attempt_timeout_s=5.0, statuses=frozenset(range(300, 600))
)
"""Retries until time runs out, after any response but success.

A gateway may answer in place of a service that is not there yet.
"""
