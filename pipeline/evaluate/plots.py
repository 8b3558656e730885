"""The report's plots, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.measures.calibration import reliability
from pipeline.measures.figures import area_by_ranks, ranked_classes
from pipeline.reporting.figure import BLUE, GREY, ORANGE, make_figure, to_png

SIZE_IN = (4.6, 3.8)
CURVES_NAMED = 6
LONGEST_NAME = 18
MOST_WRITTEN = 20  # labels; the cells of more are too small for a number
CHARACTERS_ACROSS = 24


def shorten(label: str) -> str:
    """Return a label on one line, cut to the width of a plot's legend."""
    line = " ".join(label.split()).replace("$", r"\$")  # a dollar begins a formula
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def plot_confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Plot a confusion matrix, each cell shaded by its share of the row; with up to 20 labels, their names.

    Args:
        counts: Numbers of samples; rows are the true classes, columns the predicted ones.
        labels: Class names, in the order of rows and columns.
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    matrix = np.array(counts)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(labels) > MOST_WRITTEN:
        axes.set(xticks=[], yticks=[], title=f"{len(labels)} labels, in the order of the table")
        return to_png(figure)
    names, size = [shorten(label) for label in labels], 10 if len(labels) <= 5 else 7
    axes.set_xticks(range(len(names)), names, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    if max(map(len, names)) * len(names) > CHARACTERS_ACROSS:
        for name in axes.get_xticklabels():
            name.set(rotation=40, ha="right", rotation_mode="anchor")
    for (row, column), count in np.ndenumerate(matrix):
        text = f"{count}\n{share[row, column]:.0%}" if len(labels) <= 5 else str(count)
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    return to_png(figure)


def plot_roc_and_pr(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], labels: Sequence[str]
) -> bytes:
    """Plot ROC and precision-recall curves: of two classes the second's, of more each against the rest.

    Classes without samples have no curve. Of many classes, those with the smallest areas are named.

    Args:
        probabilities: Calibrated probabilities, float64 of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,), of at least two classes.
        labels: Class names, in the order of the probabilities.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    figure = make_figure(2 * SIZE_IN[0], SIZE_IN[1])
    roc, pr = figure.subplots(1, 2)
    chosen = ranked_classes(targets, len(labels))
    areas = {c: area_by_ranks(probabilities[:, c], targets == c) for c in chosen}
    named = sorted(chosen, key=lambda c: areas[c])[:CURVES_NAMED]
    for c in chosen:
        positive, name = targets == c, shorten(labels[c]) if c in named else None
        false_rate, true_rate, _ = roc_curve(positive, probabilities[:, c])
        precision, recall, _ = precision_recall_curve(positive, probabilities[:, c])
        mean = average_precision_score(positive, probabilities[:, c])
        roc.plot(false_rate, true_rate, label=name and f"{name}: area {areas[c]:.3f}")
        pr.plot(recall, precision, label=name and f"{name}: AP {mean:.3f}")
    roc.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    roc.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title="ROC",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    pr.set(
        xlabel="recall", ylabel="precision", title="Precision-recall", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    for axes in (roc, pr):
        axes.legend(loc="lower center", fontsize="small")
        axes.grid(alpha=0.2)
    return to_png(figure)


def plot_reliability(
    before: NDArray[np.float64] | None, after: NDArray[np.float64], targets: NDArray[np.int64]
) -> bytes:
    """Plot accuracy against confidence, before and after temperature scaling.

    Args:
        before: Probabilities at a temperature of 1, float64 of shape (samples, classes); None where only the
            served ones are known.
        after: Probabilities at the fitted temperature, of the same shape.
        targets: Class indices, int64 of shape (samples,).
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="perfect")
    for probabilities, colour, name in ((before, ORANGE, "before"), (after, BLUE, "after scaling")):
        if probabilities is None:
            continue
        confidence, accuracy, share = reliability(probabilities, targets, bins=10).T
        axes.plot(confidence, accuracy, color=colour, label=name, linewidth=1)
        axes.scatter(confidence, accuracy, s=10 + 300 * share, color=colour, alpha=0.6, linewidths=0)
    least = 1 / after.shape[1]
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(least - 0.02, 1.02), ylim=(0, 1.04))
    axes.legend(loc="lower right", fontsize="small")
    axes.grid(alpha=0.2)
    return to_png(figure)
