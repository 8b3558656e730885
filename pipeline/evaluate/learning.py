"""The report's plot of a training: training and validation on one axis, and the gap between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.artifacts.history import Epoch, History
from pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, make_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_IN = (5.2, 4.8)
MOST_TICKS = 12


def plot_learning(history: History) -> bytes | None:
    """Plot losses and validation accuracy by epoch, as PNG; None where nothing but the head was trained.

    Args:
        history: The record of the training.
    """
    head, *trained = history.epochs
    if not trained:
        return None
    figure = make_figure(*SIZE_IN)
    losses, accuracy = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    numbers = [epoch.epoch for epoch in trained]
    _draw_losses(losses, head, trained)
    accuracy.axhline(head.validation_accuracy, color=GREY, linestyle="--", linewidth=1)
    accuracy.plot(numbers, [epoch.validation_accuracy for epoch in trained], color=GREEN, marker="o", ms=4)
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    for axes in (losses, accuracy):
        axes.grid(alpha=0.2)
        axes.set_xticks(numbers[:: max(1, -(-len(numbers) // MOST_TICKS))])
        if history.best_epoch:
            axes.axvline(history.best_epoch, color=GREY, linestyle=":", linewidth=1.2)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    losses.set_title(f"kept: {history.kept}", fontsize="small")
    return to_png(figure)


def _draw_losses(axes: Axes, head: Epoch, trained: Sequence[Epoch]) -> None:
    """Draw both losses, the gap between them at the end, the best epoch and the head."""
    numbers = [epoch.epoch for epoch in trained]
    validation = [epoch.validation_loss for epoch in trained]
    measured = [epoch.seen_loss for epoch in trained if epoch.seen_loss is not None]
    training = measured if len(measured) == len(trained) else [epoch.train_loss or 0 for epoch in trained]
    axes.plot(numbers, validation, color=BLUE, marker="o", ms=4, label="validation")
    axes.plot(numbers, training, color=ORANGE, marker="o", ms=4, label="training samples")
    axes.axhline(
        head.validation_loss, color=GREY, linestyle="--", linewidth=1, label="the head alone, validation"
    )
    best = validation.index(min(validation))
    axes.plot(
        numbers[best],
        validation[best],
        color=BLUE,
        marker="*",
        ms=14,
        linestyle="none",
        label=f"best epoch: {numbers[best]}",
    )
    axes.fill_between(numbers, training, validation, color=BLUE, alpha=0.08)
    gap = validation[-1] - training[-1]
    axes.annotate(
        f"gap {gap:.2f}",
        (numbers[-1], max(validation[-1], training[-1])),
        xytext=(0, 6),
        textcoords="offset points",
        ha="right",
        color=BLUE,
        fontsize="small",
    )
    axes.set(ylabel="loss (nats)", ylim=(0, 1.1 * max(*validation, *training, head.validation_loss)))
