"""The metrics of a classifier, scikit-learn's, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import expected_calibration_error, softmax

RANKED_CLASSES = (
    20  # more make a paired bootstrap of the AUROC, which sorts each class of each draw, take minutes
)
Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]


def measure(
    logits: NDArray[np.floating],
    targets: Targets,
    labels: Sequence[str],
    temperature: float,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Everything that ``metrics.json`` says of a split.

    Args:
        logits: Uncalibrated, shape (samples, classes).
        targets: Class indices, shape (samples,).
        labels: Class names, in the order of the logits.
        temperature: Fitted on another split.
        resamples: How often the samples are drawn again, with replacement, for the 95 % intervals.
        seed: Of the draws.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    probabilities = softmax(logits, temperature)
    predicted = probabilities.argmax(axis=1)
    everything = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=everything, zero_division=0
    )
    return {
        "samples": len(targets),
        **summarise(probabilities, targets),
        "ece_uncalibrated": expected_calibration_error(softmax(logits), targets),
        "temperature": temperature,
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion_matrix": {
            "labels": list(labels),
            "rows_are": "true",
            "counts": confusion_matrix(targets, predicted, labels=everything).tolist(),
        },
        "intervals_95": bootstrap(probabilities, targets, resamples, seed),
    }


def summarise(probabilities: Probabilities, targets: Targets) -> dict[str, float]:
    """The figures that one number each says: of calibrated probabilities (samples, classes)."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
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
    """Area under the ROC curve: of two classes the second against the first, of more the mean of each against the rest."""
    from sklearn.metrics import roc_auc_score

    if probabilities.shape[1] == 2:
        return float(roc_auc_score(targets, probabilities[:, 1]))
    classes = np.arange(probabilities.shape[1])
    return float(np.mean([roc_auc_score(targets == c, probabilities[:, c]) for c in classes]))


def compare_with_baseline(
    ours: Probabilities, theirs: Probabilities, targets: Targets, *, resamples: int, seed: int
) -> dict[str, Any]:
    """A baseline's figures, and how far ahead of it a model is in macro F1.

    Args:
        ours: The model's probabilities, shape (samples, classes).
        theirs: The baseline's.
        targets: Class indices, shape (samples,).
        resamples: Paired resamples behind the 95 % interval of the lead.
        seed: Of the draws.
    """
    lead = paired_differences(ours, theirs, targets, resamples=resamples, seed=seed)["macro_f1"]
    return {
        **summarise(theirs, targets),
        "lead": lead["value"],
        "lead_95": lead["interval_95"],
        "loses": lead["value"] < 0,
    }


def paired_differences(
    ours: Probabilities, theirs: Probabilities, targets: Targets, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """How much each figure of :func:`summarise` differs between two models, ours less theirs, with its 95 % interval.

    Both are judged on the same draws (a paired bootstrap), so that what they have in common does not widen
    the interval. Of more than 20 classes the AUROC is left out.
    """
    whole = _differences(ours, theirs, targets)
    drawn = [
        _differences(ours[indices], theirs[indices], targets[indices])
        for indices in _draws(targets, resamples, seed)
    ]
    return {
        name: {
            "value": value,
            "interval_95": [float(q) for q in np.quantile([row[name] for row in drawn], (0.025, 0.975))],
        }
        for name, value in whole.items()
    }


def _differences(ours: Probabilities, theirs: Probabilities, targets: Targets) -> dict[str, float]:
    ranked = ours.shape[1] <= RANKED_CLASSES
    a, b = (_summarise_fast(rows, targets, with_auroc=ranked) for rows in (ours, theirs))
    return {name: a[name] - b[name] for name in a}


def _draws(targets: Targets, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices drawn again within each class: every class stays in every draw, however small; without that, a draw may have no AUROC."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(targets == c) for c in np.unique(targets)]
    for _ in range(resamples):
        yield np.concatenate([generator.choice(own, len(own)) for own in members])


def bootstrap(
    probabilities: Probabilities, targets: Targets, resamples: int, seed: int
) -> dict[str, list[float]]:
    """The 95 % percentile interval of every figure of :func:`summarise`, from samples drawn again within each class."""
    drawn = [
        _summarise_fast(probabilities[indices], targets[indices])
        for indices in _draws(targets, resamples, seed)
    ]
    return {
        name: [float(q) for q in np.quantile([row[name] for row in drawn], (0.025, 0.975))]
        for name in drawn[0]
    }


def _summarise_fast(
    probabilities: Probabilities, targets: Targets, *, with_auroc: bool = True
) -> dict[str, float]:
    """What :func:`summarise` says, ten times as fast and to the same last digits: scikit-learn checks its input each time."""
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
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
    """The area under the ROC curve as the Mann-Whitney statistic: ties count half."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    return float(
        (rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count))
    )
