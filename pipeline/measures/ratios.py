"""Ratios of times from interleaved rounds, and whether they are above a bound: yes, no, or not clear yet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.99
LOOKS = (8, 16, 32, 64)
"""The numbers of rounds after which an interval is looked at.

With fewer than eight rounds no interval of this confidence is bounded. Whoever looks after every round, and
stops as soon as the interval suits, is wrong far more often than the interval says. With these four looks a
comparison ends on the wrong side of its bound in at most 2 of 100 verifications.
"""
Place = Literal["above", "below", "unclear"]
"""Where a ratio is in relation to a bound."""


@dataclass(frozen=True)
class RatioInterval:
    """The median of some rounds' ratios, with a 99 % interval for the median of all rounds that could be.

    Attributes:
        median: The median of the rounds.
        low: Lower end of the interval; 0 if there are fewer than eight rounds.
        high: Upper end of the interval; infinite if there are fewer than eight rounds.
        rounds: Number of rounds.
    """

    median: float
    low: float
    high: float
    rounds: int

    def place(self, bound: float) -> Place:
        """Return on which side of a bound the whole interval lies; ``unclear`` if it contains the bound."""
        if self.low >= bound:
            return "above"
        return "below" if self.high < bound else "unclear"


def estimate_ratio(ratios: Sequence[float]) -> RatioInterval:
    """Estimate a ratio of times from that of each round.

    The interval is that of the sign test, between two order statistics. It supposes no distribution, so a
    round that another process disturbed counts as one round, however long it took.

    Args:
        ratios: The ratio of each round; at least one.
    """
    ordered = sorted(ratios)
    median, rounds = statistics.median(ordered), len(ordered)
    left_out = _left_out(rounds)
    if left_out is None:
        return RatioInterval(median, 0.0, math.inf, rounds)
    return RatioInterval(median, ordered[left_out], ordered[-1 - left_out], rounds)


def _left_out(rounds: int) -> int | None:
    """Return how many rounds lie outside the interval on each side; None if no interval is wide enough.

    The true median is below the (n + 1)-th smallest ratio only if at most n ratios are below it, of which the
    probability is that of at most n heads in as many tosses as there are rounds.
    """
    tail, left_out = 0.0, None
    for count in range(rounds // 2):
        tail += math.comb(rounds, count) / 2**rounds
        if tail > (1 - CONFIDENCE) / 2:
            break
        left_out = count
    return left_out
