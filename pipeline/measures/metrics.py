"""The metrics of a classifier, scikit-learn's, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import expected_calibration_error
from pipeline.measures.records import (
    BaselineMetrics,
    ClassMetrics,
    ConfusionMatrix,
    Figures,
    Interval,
    Intervals,
    Metrics,
)
from pipeline.tasks.classification import CLASSIFICATION

# With more classes a paired bootstrap of the AUROC, which sorts each class of each draw, takes minutes.
RANKED_CLASSES = 20
Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]


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
        resamples: Number of times that the samples are drawn again, with replacement, for the 95 % intervals.
        seed: Seed of the draws.
    """
    probabilities = CLASSIFICATION.probabilities(logits, temperature)
    predicted = CLASSIFICATION.answers(probabilities)
    return Metrics(
        samples=len(targets),
        **summarise(probabilities, targets),
        ece_uncalibrated=expected_calibration_error(CLASSIFICATION.probabilities(logits), targets),
        temperature=temperature,
        per_class=_by_class(predicted, targets, labels),
        confusion_matrix=_confusion(predicted, targets, labels),
        intervals_95=bootstrap(probabilities, targets, resamples, seed),
    )


def _by_class(predicted: Targets, targets: Targets, labels: Sequence[str]) -> dict[str, ClassMetrics]:
    """Return the figures of each class, by its label."""
    from sklearn.metrics import precision_recall_fscore_support

    rows = precision_recall_fscore_support(targets, predicted, labels=np.arange(len(labels)), zero_division=0)
    return {
        label: ClassMetrics(
            precision=float(precision), recall=float(recall), f1=float(f1), support=int(support)
        )
        for label, precision, recall, f1, support in zip(labels, *rows, strict=True)
    }


def _confusion(predicted: Targets, targets: Targets, labels: Sequence[str]) -> ConfusionMatrix:
    """Count how often each class was taken for each."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predicted, labels=np.arange(len(labels)))
    return ConfusionMatrix(labels=tuple(labels), counts=tuple(map(tuple, counts.tolist())))


def summarise(probabilities: Probabilities, targets: Targets) -> dict[str, float]:
    """Return the figures of :class:`pipeline.measures.records.Figures`, by their names.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    predicted = CLASSIFICATION.answers(probabilities)
    classes = np.arange(probabilities.shape[1])
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, predicted, labels=classes, average="macro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "auroc": auroc(probabilities, targets),
        "ece": expected_calibration_error(probabilities, targets),
    }


def auroc(probabilities: Probabilities, targets: Targets) -> float:
    """Return the area under the ROC curve, in [0, 1].

    Of two classes it is that of the second against the first, of more the mean of each against the rest.
    """
    from sklearn.metrics import roc_auc_score

    if probabilities.shape[1] == 2:
        return float(roc_auc_score(targets, probabilities[:, 1]))
    classes = np.arange(probabilities.shape[1])
    return float(np.mean([roc_auc_score(targets == c, probabilities[:, c]) for c in classes]))


def compare_with_baseline(
    name: str, ours: Probabilities, theirs: Probabilities, targets: Targets, *, resamples: int, seed: int
) -> BaselineMetrics:
    """Measure a baseline, and how far ahead of it a model is in macro F1.

    Args:
        name: The baseline's name, for people.
        ours: The model's probabilities, float64 of shape (samples, classes).
        theirs: The baseline's probabilities, of the same shape.
        targets: Class indices, of shape (samples,).
        resamples: Number of paired resamples behind the 95 % interval of the lead.
        seed: Seed of the draws.
    """
    lead = paired_differences(ours, theirs, targets, resamples=resamples, seed=seed)["macro_f1"]
    low, high = lead["interval_95"]
    return BaselineMetrics(
        name=name,
        **summarise(theirs, targets),
        lead=lead["value"],
        lead_95=(low, high),
        loses=lead["value"] < 0,
    )


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
        _summarise_fast(rows, targets, with_auroc=ranked) for rows in (ours, theirs)
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


def bootstrap(probabilities: Probabilities, targets: Targets, resamples: int, seed: int) -> Intervals:
    """Return the 95 % percentile interval of each figure, from samples drawn again within each class.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, of shape (samples,).
        resamples: Number of draws.
        seed: Seed of the draws.
    """
    drawn = [
        _summarise_fast(probabilities[indices], targets[indices])
        for indices in _draws(targets, resamples, seed)
    ]
    return Intervals(**{name: _interval([row[name] for row in drawn]) for name in Figures.model_fields})


def _summarise_fast(
    probabilities: Probabilities, targets: Targets, *, with_auroc: bool = True
) -> dict[str, float]:
    """Return what :func:`summarise` returns, ten times as fast and to the same last digits.

    It does without scikit-learn, which checks its input each time.
    """
    classes = probabilities.shape[1]
    predicted = CLASSIFICATION.answers(probabilities)
    counts = np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)
    right, true, given = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    columns = [1] if classes == 2 else range(classes)
    return {
        "accuracy": float(right.sum() / len(targets)),
        "macro_precision": float((right / np.maximum(given, 1)).mean()),
        "macro_recall": float((right / np.maximum(true, 1)).mean()),
        "macro_f1": float((2 * right / np.maximum(true + given, 1)).mean()),
        **(
            {"auroc": float(np.mean([_auroc_by_ranks(probabilities[:, c], targets == c) for c in columns]))}
            if with_auroc
            else {}
        ),
        "ece": expected_calibration_error(probabilities, targets),
    }


def _auroc_by_ranks(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, as the Mann-Whitney statistic, in which ties count half.

    Args:
        scores: Probability of the class, float64 of shape (samples,).
        positive: Whether a sample is of the class, of shape (samples,).
    """
    from scipy.stats import rankdata

    count = int(positive.sum())
    return float(
        (rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count))
    )
