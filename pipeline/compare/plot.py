"""The plots of a comparison: accuracy against time, and the learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.compare.curve import Curve
from pipeline.compare.extrapolating import Outlook, errors_of, wrong_of
from pipeline.compare.ranking import pareto
from pipeline.compare.table import Row
from pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, make_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_IN = (8.2, 4.8)
NEAR = 1.12
COLOURS = (BLUE, ORANGE, GREEN, "#8250df", "#bf3989", "#9a6700", GREY)


def plot_pareto(rows: Sequence[Row], taken: str, without: float | None) -> bytes:
    """Plot the accuracy of each backbone against its milliseconds a sample.

    Args:
        rows: The lines of the table; those without figures are left out.
        taken: Name of the backbone that is recommended.
        without: Cross-validated accuracy of the classic model without transfer; None where there is none.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    points = {
        row.name: (row.ms, row.probe_accuracy)
        for row in rows
        if row.ms is not None and row.probe_accuracy is not None
    }
    front = pareto(points)
    axes.plot(
        [points[name][0] for name in front], [points[name][1] for name in front],
        color=GREY, linewidth=1, drawstyle="steps-post", zorder=1, label="no other is faster and better",
    )  # fmt: skip
    for row in (row for row in rows if row.name in points):
        _plot_row(axes, row, GREEN if row.name == taken else BLUE)
    if without is not None:
        axes.axhline(without, color=ORANGE, linestyle="--", linewidth=1, label="without transfer")
    axes.plot([], [], "o", color=BLUE, label="linear probe, cross-validated, 95 % interval over folds")
    if any(row.tuned_accuracy is not None for row in rows):
        axes.plot([], [], "^", color=BLUE, label="after the longest fine-tuning, on validation")
    axes.plot([], [], "s", color=GREEN, label="recommended (green)")
    axes.set(xlabel="milliseconds a sample on one thread", ylabel="accuracy", xscale="log")
    times = sorted(ms for ms, _ in points.values())
    axes.set_xlim(
        times[0] / 1.25, times[-1] * max(1.9, 1.25 * (times[-1] / times[0]) ** 0.3)
    )  # room for names
    _label(axes, [round(ms, 2) for ms in times])
    axes.grid(alpha=0.2)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return to_png(figure)


def _plot_row(axes: Axes, row: Row, colour: str) -> None:
    """Plot a backbone: its probe with the interval, and its fine-tuning."""
    assert row.probe_accuracy is not None
    low, high = row.probe_interval or (row.probe_accuracy, row.probe_accuracy)
    reach = [[row.probe_accuracy - low], [high - row.probe_accuracy]]
    assert row.ms is not None
    axes.errorbar(
        [row.ms], [row.probe_accuracy], yerr=reach, fmt="o", color=colour, capsize=3, linewidth=1, zorder=2
    )
    if row.tuned_accuracy is not None:
        axes.plot([row.ms], [row.tuned_accuracy], "^", color=colour, markersize=8, zorder=3)
    axes.annotate(
        row.name, (row.ms, row.probe_accuracy), xytext=(7, 5), textcoords="offset points", fontsize="small"
    )


def _label(axes: Axes, values: Sequence[float]) -> None:
    """Label a logarithmic axis at the values themselves, but for those too near the one before."""
    ticks: list[float] = []
    for value in values:
        if not ticks or value > NEAR * ticks[-1]:
            ticks.append(value)
    axes.set_xticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)


def plot_curves(curves: Mapping[str, Curve], outlook: Outlook) -> bytes:
    """Plot the error against the number of training samples, and the extrapolation of the first curve.

    Args:
        curves: The learning curves by the backbones' names, the recipe's own first.
        outlook: What the first one says of more samples.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        sizes = [point.samples for point in curve.points]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(sizes, errors_of(curve), "o-", color=colour, linewidth=1, label=name, zorder=3)
        for point in curve.points:
            drawn = wrong_of(point).mean(axis=1)
            axes.plot([point.samples] * len(drawn), drawn, ".", color=colour, alpha=0.35, markersize=4)
    if outlook.law is not None:
        ratios = np.geomspace(next(iter(curves.values())).points[0].samples / outlook.whole, 4, 60)
        expected = [float(outlook.law.errors(ratio)[0]) for ratio in ratios]
        axes.plot(ratios * outlook.whole, expected, "--", color=BLUE, linewidth=1, label="power law")
        for each in outlook.ahead:
            reach = [[each.error - each.interval[0]], [each.interval[1] - each.error]]
            axes.errorbar(
                [each.factor * outlook.whole], [each.error], yerr=np.maximum(reach, 0), fmt="D", color=BLUE,
                mfc="white", capsize=4, label=f"expected at {each.factor} times the samples, 95 % interval",
            )  # fmt: skip
    axes.set(xlabel="training samples", ylabel="share of wrong answers on validation", xscale="log")
    sizes = [point.samples for point in next(iter(curves.values())).points]
    _label(axes, [*sizes, *(each.factor * outlook.whole for each in outlook.ahead)])
    axes.grid(alpha=0.2)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return to_png(figure)
