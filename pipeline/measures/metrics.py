"""The metrics of a classifier, with intervals that know the number of samples, and the lead over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import expected_calibration_error
from pipeline.measures.figures import Counts, Probabilities, Targets, compute_figures, confusion
from pipeline.measures.guessing import judge_guessing
from pipeline.measures.intervals import estimate_intervals, proportion_interval
from pipeline.measures.records import (
    ClassMetrics,
    ConfusionMatrix,
    Interval,
    Metrics,
    Score,
)
from pipeline.tasks.classification import CLASSIFICATION

# With more classes a paired bootstrap of the AUROC, which sorts each class of each draw, takes minutes.
RANKED_CLASSES = 20


class Difference(TypedDict):
    """By how much a figure differs between two models, with the 95 % interval of a paired bootstrap."""

    value: float
    interval_95: list[float]


def measure(
    logits: NDArray[np.floating],
    targets: Targets,
    labels: Sequence[str],
    temperature: float,
    *,
    resamples: int,
    seed: int,
) -> Metrics:
    """Measure everything that ``metrics.json`` says of a split, but for a baseline.

    Args:
        logits: Uncalibrated logits, of shape (samples, classes).
        targets: Class indices, of shape (samples,).
        labels: Class names, in the order of the logits.
        temperature: What the logits are divided by; it was fitted on another split.
        resamples: Number of draws behind the 95 % interval of the calibration error.
        seed: Seed of the draws, and of the test against guessing.
    """
    score = measure_answers(
        CLASSIFICATION.probabilities(logits, temperature), targets, labels, resamples=resamples, seed=seed
    )
    return Metrics(
        **dict(score),
        ece_uncalibrated=expected_calibration_error(CLASSIFICATION.probabilities(logits), targets),
        temperature=temperature,
    )


def measure_answers(
    probabilities: Probabilities, targets: Targets, labels: Sequence[str], *, resamples: int, seed: int
) -> Score:
    """Measure everything that calibrated probabilities alone can tell.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes); at least one sample.
        targets: Class indices, of shape (samples,).
        labels: Class names, in the order of the probabilities.
        resamples: Number of draws behind the 95 % interval of the calibration error.
        seed: Seed of the draws, and of the test against guessing.
    """
    predicted = CLASSIFICATION.answers(probabilities)
    counts = confusion(predicted, targets, len(labels))
    figures = summarise(probabilities, targets)
    return Score(
        samples=len(targets),
        **figures,
        per_class=_by_class(counts, labels),
        confusion_matrix=ConfusionMatrix(labels=tuple(labels), counts=tuple(map(tuple, counts.tolist()))),
        intervals_95=estimate_intervals(probabilities, targets, figures, resamples, seed),
        guessing=judge_guessing(predicted, targets, len(labels), seed),
    )


def _by_class(counts: Counts, labels: Sequence[str]) -> dict[str, ClassMetrics]:
    """Return the figures of each class, by its label."""
    true, given, right = (each.tolist() for each in (counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)))
    return {
        label: ClassMetrics(
            precision=right[c] / max(given[c], 1),
            precision_95=proportion_interval(right[c], given[c]),
            recall=right[c] / max(true[c], 1),
            recall_95=proportion_interval(right[c], true[c]),
            f1=2 * right[c] / max(true[c] + given[c], 1),
            support=true[c],
        )
        for c, label in enumerate(labels)
    }


def summarise(probabilities: Probabilities, targets: Targets) -> dict[str, float]:
    """Return the figures of :class:`pipeline.measures.records.Figures`, by their names.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
    """
    return compute_figures(probabilities, targets)


def paired_differences(
    ours: Probabilities, theirs: Probabilities, targets: Targets, *, resamples: int, seed: int
) -> dict[str, Difference]:
    """Return how much each figure of :func:`summarise` differs between two models: ours less theirs.

    Both are judged on the same draws (a paired bootstrap), so that what they have in common does not widen
    the interval. Of more than 20 classes the AUROC is left out.

    Args:
        ours: One model's probabilities, float64 of shape (samples, classes).
        theirs: The other model's probabilities, of the same shape.
        targets: Class indices, of shape (samples,).
        resamples: Number of draws behind the 95 % intervals.
        seed: Seed of the draws.
    """
    whole = _differences(ours, theirs, targets)
    drawn = [
        _differences(ours[indices], theirs[indices], targets[indices])
        for indices in _draws(targets, resamples, seed)
    ]
    return {
        name: {"value": value, "interval_95": list(_interval([row[name] for row in drawn]))}
        for name, value in whole.items()
    }


def _differences(ours: Probabilities, theirs: Probabilities, targets: Targets) -> dict[str, float]:
    """Return how much each figure differs between two models on the same samples: ours less theirs."""
    ranked = ours.shape[1] <= RANKED_CLASSES
    our_figures, their_figures = (
        compute_figures(rows, targets, with_auroc=ranked) for rows in (ours, theirs)
    )
    return {name: value - their_figures[name] for name, value in our_figures.items()}


def _draws(targets: Targets, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield indices that are drawn again within each class.

    So every class stays in every draw, however small it is: without one of them a draw may have no AUROC.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(targets == c) for c in np.unique(targets)]
    for _ in range(resamples):
        yield np.concatenate([generator.choice(indices, len(indices)) for indices in members])


def _interval(values: Sequence[float]) -> Interval:
    """Return the bounds between which the middle 95 % of the values lie."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
