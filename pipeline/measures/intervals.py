"""The 95 % intervals of the figures, each of which knows the number of samples (docs/adr/0017).

A percentile bootstrap says [1, 1] of two samples without a mistake: no draw of them has one. Here a class of
which no mistake was seen may still have some, the more so the fewer samples it has.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.figures import (
    Counts,
    Probabilities,
    Targets,
    area_by_ranks,
    confusion,
    macro_figures,
    ranked_classes,
)
from pipeline.measures.records import Interval, Intervals
from pipeline.tasks.classification import CLASSIFICATION

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's quantile of 0.975
BINS = 15
NARROW = 1e-9
UNKNOWN: Interval = (0.0, 1.0)


def proportion_interval(right: int, count: int) -> Interval:
    """Return the exact (Clopper-Pearson) 95 % interval of a proportion; [0, 1] where nothing was counted.

    Args:
        right: Number of samples of which something is true.
        count: Number of samples.
    """
    return _exact(right, count) if count else UNKNOWN


def estimate_intervals(
    probabilities: Probabilities, targets: Targets, figures: Mapping[str, float], draws: int, seed: int
) -> Intervals:
    """Return the 95 % interval of each figure. Each holds its figure.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
        figures: The figures of :func:`pipeline.measures.figures.compute_figures`.
        draws: Number of draws for the ECE.
        seed: Seed of the draws.
    """
    counts = confusion(CLASSIFICATION.answers(probabilities), targets, probabilities.shape[1])
    return Intervals(
        accuracy=proportion_interval(int(np.trace(counts)), len(targets)),
        **macro_intervals(counts),
        auroc=auroc_interval(probabilities, targets),
        ece=ece_interval(probabilities, targets, figures["ece"], draws, seed),
    )


def macro_intervals(counts: Counts) -> dict[str, Interval]:
    """Return the 95 % intervals of the means over classes, by their names: Korn's and Graubard's.

    Each is the exact interval of a proportion of as many samples as would have the figure's variance. They
    are at most as many as would have that of the mean recall if all classes had the same: the square of the
    number of classes, divided by the sum of 1 / samples. So a figure of which no error was seen, and whose
    variance thus seems to be 0, still has an interval.

    Args:
        counts: Numbers of samples, int64 of shape (classes, classes): rows are the true classes.
    """
    true = counts.sum(axis=1)
    sizes = true[true > 0]
    most = len(sizes) ** 2 / float((1 / sizes).sum())
    found = {}
    for name, figure in macro_figures(counts).items():
        variance = _variance(counts, _influence(counts, name))
        spread = figure * (1 - figure)
        samples = min(most, spread / variance) if variance > 0 and spread > 0 else most
        found[name] = _exact(figure * max(samples, 1.0), max(samples, 1.0))
    return found


def _influence(counts: Counts, name: str) -> NDArray[np.float64]:
    """Return by how much a figure grows with the count of each cell, float64 of shape (classes, classes).

    The sizes of the true classes stay as they are.
    """
    true, given, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    present = true > 0
    size = {"macro_recall": true, "macro_precision": given, "macro_f1": true + given}[name]
    factor = (2.0 if name == "macro_f1" else 1.0) * (present & (size > 0)) / np.maximum(size, 1)
    column = np.zeros(len(counts)) if name == "macro_recall" else -factor * right / np.maximum(size, 1)
    return np.asarray((np.diag(factor) + column) / present.sum())


def _variance(counts: Counts, influence: NDArray[np.float64]) -> float:
    """Return the variance of a figure over samples drawn within their classes, by the delta method.

    A class of one sample adds nothing: it does not show how its samples differ.
    """
    sizes = np.maximum(counts.sum(axis=1), 1)
    means = (counts * influence).sum(axis=1) / sizes
    squares = (counts * (influence - means[:, None]) ** 2).sum(axis=1)
    return float((squares * sizes / np.maximum(sizes - 1, 1))[sizes > 1].sum())


def _exact(right: float, count: float) -> Interval:
    """Return the exact 95 % interval of a proportion, of numbers that need not be whole."""
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, right, count - right + 1)) if right > 0 else 0.0
    high = float(beta.ppf(1 - tail, right + 1, count - right)) if count - right > NARROW else 1.0
    return low, high


def ece_interval(
    probabilities: Probabilities, targets: Targets, figure: float, draws: int, seed: int
) -> Interval:
    """Return the 95 % interval of the calibration error.

    The upper bound is that of :func:`draw_ece`. Its draws are too large for a lower one where bins hold few
    samples, each of which is off by chance. But the error is at least the difference between mean confidence
    and accuracy, so the lower bound is how far the mean confidence is outside the interval of the accuracy.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
        figure: The measured error.
        draws: Number of draws.
        seed: Seed of the draws.
    """
    right = int((CLASSIFICATION.answers(probabilities) == targets).sum())
    low, high = proportion_interval(right, len(targets))
    confidence = float(CLASSIFICATION.confidences(probabilities).mean())
    errors = draw_ece(probabilities, targets, draws, np.random.default_rng(seed))
    upper = float(np.quantile(errors, (1 + LEVEL) / 2))
    return min(max(low - confidence, confidence - high, 0.0), figure), max(upper, figure)


def draw_ece(
    probabilities: Probabilities, targets: Targets, draws: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw calibration errors that the measured one may come from.

    Each bin keeps its mean confidence. Its accuracy is drawn from the beta distribution of its counts and one
    sample more over all bins, half right and half wrong, and its share of the samples from the Dirichlet
    distribution of the counts.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
        draws: Number of draws.
        generator: Source of the draws.

    Returns:
        The errors, float64 of shape (draws,).
    """
    confidence = np.clip(CLASSIFICATION.confidences(probabilities), 0, 1)
    correct = CLASSIFICATION.answers(probabilities) == targets
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sizes, right, sums = (np.bincount(place, weights, BINS) for weights in (None, correct, confidence))
    filled = sizes > 0
    sizes, right, means = sizes[filled], right[filled], sums[filled] / sizes[filled]
    more = 0.5 / len(sizes)
    by_bin = generator.beta(right + more, sizes - right + more, (draws, len(sizes)))
    shares = generator.dirichlet(sizes, draws)
    return np.asarray((shares * np.abs(means - by_bin)).sum(axis=1))


def auroc_interval(probabilities: Probabilities, targets: Targets) -> Interval:
    """Return the 95 % interval of the AUROC; [0, 1] where only one class has samples.

    Of more than two classes the half-widths of the classes are added as standard errors of numbers that
    correlate by 1 / (classes - 1).
    """
    areas, bounds = [], []
    for c in ranked_classes(targets, probabilities.shape[1]):
        positive = targets == c
        areas.append(area_by_ranks(probabilities[:, c], positive))
        bounds.append(area_interval(areas[-1], int(positive.sum()), int((~positive).sum())))
    if not areas:
        return UNKNOWN
    mean = float(np.mean(areas))
    below, above = np.abs(np.array(bounds) - np.array(areas)[:, None]).T
    return max(mean - _mean_width(below), 0.0), min(mean + _mean_width(above), 1.0)


def _mean_width(widths: NDArray[np.float64]) -> float:
    """Return the half-width of a mean of numbers that correlate by 1 / (numbers - 1)."""
    count = len(widths)
    shared = 1 / max(count - 1, 1)
    return float(np.sqrt((1 - shared) * (widths**2).sum() + shared * widths.sum() ** 2) / count)


def area_interval(area: float, positives: int, negatives: int) -> Interval:
    """Return the 95 % interval of the area under one ROC curve: Newcombe's method 5.

    It holds the areas from which the measured one is less than 1.96 standard errors away, where the standard
    error is Hanley's and McNeil's at that area, rather than at the measured one (Newcombe 2006,
    doi:10.1002/sim.2324).

    Args:
        area: The measured area, in [0, 1].
        positives: Number of samples of the class, at least 1.
        negatives: Number of other samples, at least 1.
    """
    from scipy.optimize import brentq

    def excess(other: float) -> float:
        """Return by how much two areas differ, less 1.96 standard errors."""
        half = (positives + negatives) / 2 - 1
        ties = half * ((1 - other) / (2 - other) + other / (1 + other))
        return abs(area - other) - Z * float(
            np.sqrt(other * (1 - other) * (1 + ties) / positives / negatives)
        )

    low = brentq(excess, 0.0, min(area, 1 - NARROW)) if area > NARROW else 0.0
    high = brentq(excess, max(area, NARROW), 1.0) if area < 1 - NARROW else 1.0
    return float(low), float(high)
