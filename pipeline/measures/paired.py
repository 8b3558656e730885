"""By how much one model is right more often than another on the same samples, and whether that is chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.figures import Targets
from pipeline.measures.intervals import Z
from pipeline.measures.records import Interval

SIGNIFICANT = 0.05
DRAWS = 99_999
FEWEST_DISCORDANT = (
    6  # answers that differ, all in one direction, have an exact p-value below 0.05 from there on
)
ROUNDING = 1e-9


@dataclass(frozen=True)
class PairedDifference:
    """By how much one model is right more often than another on the same samples.

    Attributes:
        difference: Share of right answers of the first less that of the second, in [-1, 1].
        interval_95: The 95 % interval of the difference.
        p_value: Two-sided p-value that it is 0.
        smallest: Smallest difference that would have been told from 0 with as many answers that differ.
    """

    difference: float
    interval_95: Interval
    p_value: float
    smallest: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is told from 0 at the level of 5 %."""
        return self.p_value <= SIGNIFICANT + ROUNDING


@dataclass(frozen=True)
class _Discordance:
    """How often only one of two models is right.

    Attributes:
        first: Share of samples that only the first answers rightly.
        second: Share of samples that only the second answers rightly.
        samples: Number of samples; where classes count alike, the number that would have the variance that is
            measured.
    """

    first: float
    second: float
    samples: float


def compare_answers(
    first: Targets, second: Targets, targets: Targets, *, by_class: bool, seed: int
) -> PairedDifference:
    """Compare how often two models are right on the same samples.

    The p-value is that of McNemar's exact test: of the samples that only one of the models answers rightly,
    each is as likely to be the other's. The interval is Tango's score interval (Statistics in Medicine 17,
    1998, 891-908), which knows the number of samples even where no answers differ. It is widened to hold 0
    where the exact test does not exclude it.

    Args:
        first: One model's answers, class indices of shape (samples,).
        second: The other model's answers, of the same shape.
        targets: True class indices, of the same shape.
        by_class: Whether each class counts alike (the mean of the classes' recalls) rather than each sample.
        seed: Seed of the draws of the p-value, where classes count alike.
    """
    ours, theirs = first == targets, second == targets
    only_first, only_second = ours & ~theirs, theirs & ~ours
    weights = _weights(targets) if by_class else np.full(len(targets), 1 / len(targets))
    found = _discordance(only_first, only_second, targets, weights, by_class=by_class)
    difference = found.first - found.second
    p_value = _p_value(only_first, only_second, weights, seed)
    low, high = score_interval(found.first * found.samples, found.second * found.samples, found.samples)
    if p_value > SIGNIFICANT + ROUNDING:
        low, high = min(low, 0.0), max(high, 0.0)
    smallest = max(
        Z * ((found.first + found.second) / found.samples) ** 0.5, FEWEST_DISCORDANT / found.samples
    )
    return PairedDifference(difference, (low, high), p_value, min(smallest, 1.0))


def _weights(targets: Targets) -> NDArray[np.float64]:
    """Return what each sample adds to the mean recall, float64 of shape (samples,)."""
    sizes = np.bincount(targets)
    return np.asarray(1 / ((sizes > 0).sum() * sizes[targets]), np.float64)


def _discordance(
    only_first: NDArray[np.bool_],
    only_second: NDArray[np.bool_],
    targets: Targets,
    weights: NDArray[np.float64],
    *,
    by_class: bool,
) -> _Discordance:
    """Return how often only one model is right, and of how many samples this has the variance.

    Where classes count alike, it is the number of equally weighted samples with the variance of the
    difference (Korn's and Graubard's), and at most as many as if all classes had the same discordance.
    """
    first, second = float(weights[only_first].sum()), float(weights[only_second].sum())
    if not by_class:
        return _Discordance(first, second, float(len(targets)))
    most = 1 / float((weights**2).sum())
    signs = only_first.astype(np.float64) - only_second
    sizes = np.bincount(targets)
    known = sizes > 0
    means = np.bincount(targets, signs)[known] / sizes[known]
    squares = np.bincount(targets, signs**2)[known] / sizes[known]
    variance = float(((squares - means**2) / sizes[known]).sum()) / known.sum() ** 2
    spread = first + second - (first - second) ** 2
    samples = min(most, spread / variance) if variance > 0 and spread > 0 else most
    return _Discordance(first, second, max(samples, 1.0))


def _p_value(
    only_first: NDArray[np.bool_], only_second: NDArray[np.bool_], weights: NDArray[np.float64], seed: int
) -> float:
    """Return the two-sided p-value of the difference: the share of random signs that give one as large."""
    from scipy.stats import binomtest

    discordant = weights[only_first | only_second]
    if not len(discordant):
        return 1.0
    kinds, counts = np.unique(np.round(discordant, 12), return_counts=True)
    if len(kinds) == 1:
        return float(binomtest(int(only_first.sum()), len(discordant)).pvalue)
    reached = abs(float(weights[only_first].sum() - weights[only_second].sum())) - ROUNDING
    generator = np.random.default_rng(seed)
    ours = generator.binomial(counts, 0.5, (DRAWS, len(counts)))
    drawn = np.abs((2 * ours - counts) @ kinds)
    return float(((drawn >= reached).sum() + 1) / (DRAWS + 1))


def score_interval(first: float, second: float, samples: float) -> Interval:
    """Return Tango's 95 % interval of the difference of two proportions of the same samples.

    It holds the differences from which the measured one is less than 1.96 standard errors away, where the
    standard error is the one at that difference.

    Args:
        first: Number of samples that only the first answers rightly; it need not be whole.
        second: Number of samples that only the second answers rightly.
        samples: Number of samples, at least 1.
    """
    from scipy.optimize import brentq

    measured = (first - second) / samples

    def excess(difference: float) -> float:
        """Return by how many standard errors a difference is above the measured one."""
        linear = (2 * samples - first + second) * difference - first - second
        constant = -second * difference * (1 - difference)
        root = np.sqrt(max(linear**2 - 8 * samples * constant, 0.0))
        share = (root - linear) / (4 * samples)
        variance = max((2 * share + difference * (1 - difference)) / samples, 1e-300)
        return float((difference - measured) / np.sqrt(variance))

    low, high = -1 + ROUNDING, 1 - ROUNDING
    below = brentq(lambda each: excess(each) + Z, low, measured) if measured > low else -1.0
    above = brentq(lambda each: excess(each) - Z, measured, high) if measured < high else 1.0
    return float(below), float(above)
