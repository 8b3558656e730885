"""The figures of a classifier on some samples, exact and without intervals.

A mean over classes is one over the classes that have samples, so that a split which lacks a class still has
every figure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import expected_calibration_error
from pipeline.tasks.classification import CLASSIFICATION

Probabilities = NDArray[np.float64]
Targets = NDArray[np.int64]
Counts = NDArray[np.int64]
UNRANKED = 0.5
"""The AUROC where all samples are of one class, so that nothing can be ranked: that of any guess."""


def confusion(predicted: Targets, targets: Targets, classes: int) -> Counts:
    """Count how often each class was taken for each.

    Args:
        predicted: Class indices of the answers, of shape (samples,).
        targets: True class indices, of shape (samples,).
        classes: Number of classes.

    Returns:
        Numbers of samples, int64 of shape (classes, classes): rows are the true classes.
    """
    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def macro_figures(counts: Counts) -> dict[str, float]:
    """Return precision, recall and F1 as means over the classes that have samples.

    The precision of a class that was never named is 0.

    Args:
        counts: Numbers of samples, int64 of shape (classes, classes): rows are the true classes.

    Returns:
        The means, by the names ``macro_precision``, ``macro_recall`` and ``macro_f1``.
    """
    true, given, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    present = true > 0
    true, given, right = true[present], given[present], right[present]
    return {
        "macro_precision": float((right / np.maximum(given, 1)).mean()),
        "macro_recall": float((right / true).mean()),
        "macro_f1": float((2 * right / (true + given)).mean()),
    }


def compute_figures(
    probabilities: Probabilities, targets: Targets, *, with_auroc: bool = True
) -> dict[str, float]:
    """Return the figures of :class:`pipeline.measures.records.Figures`, by their names.

    They are scikit-learn's, without its checks of the input, which take ten times as long.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes); at least one sample.
        targets: Class indices, of shape (samples,).
        with_auroc: Whether to compute the AUROC too, which sorts the samples once a class.
    """
    counts = confusion(CLASSIFICATION.answers(probabilities), targets, probabilities.shape[1])
    return {
        "accuracy": float(np.trace(counts) / len(targets)),
        **macro_figures(counts),
        **({"auroc": auroc(probabilities, targets)} if with_auroc else {}),
        "ece": expected_calibration_error(probabilities, targets),
    }


def ranked_classes(targets: Targets, classes: int) -> list[int]:
    """Return the classes whose ROC curves the AUROC is made of; none where only one class has samples.

    Of two classes it is the second, of more each that has samples.
    """
    present = np.unique(targets).tolist()
    if len(present) < 2:
        return []
    return [1] if classes == 2 else present


def auroc(probabilities: Probabilities, targets: Targets) -> float:
    """Return the area under the ROC curve, in [0, 1].

    Of two classes it is that of the second against the first, of more the mean of each class with samples
    against the rest. It is 0.5 where only one class has samples.
    """
    areas = [
        area_by_ranks(probabilities[:, c], targets == c)
        for c in ranked_classes(targets, probabilities.shape[1])
    ]
    return float(np.mean(areas)) if areas else UNRANKED


def area_by_ranks(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, as the Mann-Whitney statistic, in which ties count half.

    Args:
        scores: Probability of the class, float64 of shape (samples,).
        positive: Whether a sample is of the class, of shape (samples,); some are and some are not.
    """
    from scipy.stats import rankdata

    count = int(positive.sum())
    return float(
        (rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count))
    )
