"""The plots of a search: its history, what decides the objective, and all trials over all fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, make_figure, to_png
from pipeline.search.axes import Axis
from pipeline.search.records import TrialRow
from pipeline.search.space import Space
from pipeline.search.table import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY_IN, IMPORTANCE_IN, PARALLEL_HEIGHT_IN = (5.4, 3.6), (5.4, 3.6), 4.2
# Names and choices that are longer than that are cut.
LONGEST = 24


def plot_history(rows: Sequence[TrialRow], objective: str, *, maximises: bool) -> bytes:
    """Plot the value of each trial, and the best so far.

    Args:
        rows: The trials, in the order of their places.
        objective: Name of the objective.
        maximises: Whether a greater value is better.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*HISTORY_IN)
    axes = figure.add_subplot()
    for state, color, marker, label in (
        ("done", BLUE, "o", "done"),
        ("behind", GREY, "x", "ended early"),
    ):
        some = [row for row in rows if row.state == state and row.value is not None]
        if some:
            axes.plot(
                [row.place for row in some], _values(some), marker, color=color, markersize=5, label=label
            )
    done = [row for row in rows if row.state == "done" and row.value is not None]
    values = _values(done)
    running = np.maximum.accumulate(values) if maximises else np.minimum.accumulate(values)
    axes.step([row.place for row in done], running, where="post", color=GREEN, label="best so far")
    for row in rows:
        if row.state == "failed":
            axes.axvline(row.place, color=ORANGE, linewidth=0.8, linestyle=":")
    axes.set(xlabel="trial", ylabel=f"{objective} on validation")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.2)
    return to_png(figure)


def plot_importance(importance: Mapping[str, float]) -> bytes:
    """Plot how much each field decides the objective, the one that decides most on top.

    Args:
        importance: The share of each field.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*IMPORTANCE_IN)
    axes = figure.add_subplot()
    names = sorted(importance, key=lambda name: importance[name])
    shares = [importance[name] for name in names]
    axes.barh([_cut(name) for name in names], shares, color=BLUE)
    for index, share in enumerate(shares):
        axes.annotate(f" {share:.0%}", (share, index), va="center", fontsize="small")
    axes.set(xlabel="share of what decides the objective", xlim=(0, 1.12 * max(shares)))
    axes.grid(axis="x", alpha=0.2)
    return to_png(figure)


def plot_parallel(rows: Sequence[TrialRow], space: Space, objective: str, *, maximises: bool) -> bytes:
    """Plot every trial as a line over all fields and the objective; better ones are darker and on top.

    Args:
        rows: The trials.
        space: The space.
        objective: Name of the objective.
        maximises: Whether a greater value is better.

    Returns:
        The bytes of a PNG file.
    """
    drawn = [row for row in rows if row.value is not None]
    values = _values(drawn)
    order = np.argsort(values if maximises else -values, kind="stable")
    columns = [_heights(axis, drawn) for axis in space.axes] + [_scaled(values)]
    figure = make_figure(max(6.0, 1.9 * len(columns)), PARALLEL_HEIGHT_IN)
    axes = figure.add_subplot()
    for rank, index in enumerate(order):
        share = rank / max(1, len(order) - 1)
        best = rank == len(order) - 1
        axes.plot(
            range(len(columns)),
            [column[index] for column in columns],
            color=ORANGE if best else BLUE,
            alpha=1.0 if best else 0.08 + 0.5 * share**2,
            linewidth=2.2 if best else 1.1,
        )
    for place, axis in enumerate(space.axes):
        _draw_axis(axes, place, _cut(axis.name.partition(".")[2] or axis.name), _labels(axis))
    ends = [(0.0, f"{values.min():.4g}"), (1.0, f"{values.max():.4g}")]
    _draw_axis(axes, len(space.axes), objective, ends)
    axes.set(xlim=(-0.3, len(columns) - 0.55), ylim=(-0.08, 1.16))
    axes.axis("off")
    return to_png(figure)


def _draw_axis(axes: Axes, place: int, name: str, labels: Sequence[tuple[float, str]]) -> None:
    """Draw one upright axis with its name on top, and what some of its heights stand for."""
    axes.axvline(place, 0.08 / 1.24, 1.08 / 1.24, color=GREY, linewidth=1)
    axes.annotate(name, (place, 1.09), ha="center", fontsize="small", fontweight="bold")
    for height, label in labels:
        axes.annotate(
            label,
            (place + 0.02, height),
            va="center",
            fontsize="x-small",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _values(rows: Sequence[TrialRow]) -> NDArray[np.float64]:
    """Return the objectives of trials, float64 of shape (trials,)."""
    return np.array([row.value for row in rows], np.float64)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values scaled to [0, 1]; all in the middle where they are equal."""
    spread = float(values.max() - values.min())
    return (values - values.min()) / spread if spread > 0 else np.full(len(values), 0.5)


def _heights(axis: Axis, rows: Sequence[TrialRow]) -> NDArray[np.float64]:
    """Return the height in [0, 1] of each trial's value on an axis."""
    choices = _choices(axis)
    if choices:
        places = [choices.index(shown(row.values[axis.name])) for row in rows]
        return np.array(places) / max(1, len(choices) - 1)
    low, high = axis.ends
    values = np.array([row.values[axis.name] for row in rows], np.float64)
    if axis.dimension.log:
        return np.asarray(np.log(values / low) / np.log(high / low))
    return (values - low) / (high - low)


def _labels(axis: Axis) -> list[tuple[float, str]]:
    """Return what some heights of an axis stand for: all choices, or both ends and the middle of a range."""
    choices = _choices(axis)
    if choices:
        last = max(1, len(choices) - 1)
        return [(index / last, _cut(choice)) for index, choice in enumerate(choices)]
    low, high = axis.ends
    middle = (low * high) ** 0.5 if axis.dimension.log else (low + high) / 2
    return [(0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]


def _choices(axis: Axis) -> list[str]:
    if axis.dimension.choices is None:
        return []
    return [shown(axis.value_at(index)) for index in range(len(axis.dimension.choices))]


def _cut(text: str) -> str:
    text = text.replace("$", r"\$")  # a dollar begins a formula
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
