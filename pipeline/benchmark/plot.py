"""The plot of accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.benchmark.rows import Row, Spread, single_runs
from pipeline.reporting.figure import BLUE, GREY, ORANGE, make_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_IN = (7.2, 4.4)
LOG_FROM = 8.0  # ratio of the slowest latency to the fastest above which the axis is logarithmic


@dataclass(frozen=True)
class Point:
    """An artifact in the plot.

    Attributes:
        name: Name of the artifact.
        latency_ms: Median latency of a run, in milliseconds.
        accuracy: Accuracy on the test split, in [0, 1].
        file_mb: Size of its file, in MB of 10^6 bytes.
    """

    name: str
    latency_ms: Spread
    accuracy: float
    file_mb: float


def points_of(rows: Sequence[Row]) -> list[Point]:
    """Return a point for each artifact: that of the smallest batch and the fewest threads measured."""
    points: dict[str, Point] = {}
    for row, timing in sorted(single_runs(rows), key=lambda pair: pair[1].setting.threads):
        facts = row.facts
        points.setdefault(facts.artifact, Point(facts.artifact, timing.p50_ms, facts.accuracy, facts.file_mb))
    return list(points.values())


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point beats.

    One point beats another if it is at least as fast and as accurate, and better in one of the two.

    Returns:
        The points in the order of their latency, which is also that of their accuracy.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency_ms.value, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy or _is_equal(point, front[-1]):
            front.append(point)
    return front


def _is_equal(point: Point, other: Point) -> bool:
    return (point.latency_ms.value, point.accuracy) == (other.latency_ms.value, other.accuracy)


def plot_pareto(points: Sequence[Point], title: str, setting: str) -> bytes:
    """Plot accuracy against latency, with the Pareto front as steps.

    Latency grows to the right and accuracy upwards. The area of a point stands for the size of its file.

    Args:
        points: The artifacts, at least one.
        title: The run's name and the machine.
        setting: The setting that was timed, such as ``"batch 1, 1 thread"``.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    front = pareto_front(points)
    largest = max(point.file_mb for point in points)
    for point in points:
        colour = BLUE if point in front else ORANGE
        middle = point.latency_ms
        axes.plot(
            [middle.low, middle.high], [point.accuracy] * 2, color=colour, linewidth=1.5, alpha=0.7, zorder=2
        )
        axes.scatter(
            middle.value,
            point.accuracy,
            s=30 + 300 * point.file_mb / largest,
            color=colour,
            alpha=0.55,
            linewidths=0,
            zorder=3,
        )
    for rank, point in enumerate(sorted(points, key=lambda point: (point.latency_ms.value, point.accuracy))):
        _label(axes, point, above=rank % 2 == 1)  # the labels of neighbours lie on different sides
    _scale(axes, points)
    _draw_front(axes, front)
    axes.set(
        xlabel=f"median latency in ms ({setting}; bar: range of the rounds; area: size of the file)",
        ylabel="accuracy on the test split",
        title=title,
    )
    axes.title.set_fontsize("medium")
    axes.legend(loc="lower right", fontsize="small")
    axes.grid(alpha=0.2)
    return to_png(figure)


def _draw_front(axes: Axes, front: Sequence[Point]) -> None:
    """Draw the Pareto front as steps.

    Up to each latency the best accuracy is that of the point before; from the last point on it is its own.
    """
    latencies = [*(point.latency_ms.value for point in front), axes.get_xlim()[1]]
    accuracies = [*(point.accuracy for point in front), front[-1].accuracy]
    axes.step(
        latencies,
        accuracies,
        where="post",
        color=GREY,
        linestyle="--",
        linewidth=1,
        label="Pareto front: the blue ones",
        zorder=1,
    )


def _label(axes: Axes, point: Point, *, above: bool) -> None:
    axes.annotate(
        f"{point.name}\n{point.file_mb:.1f} MB", (point.latency_ms.value, point.accuracy),
        xytext=(0, 13 if above else -13), textcoords="offset points",
        ha="center", va="bottom" if above else "top", fontsize="small",
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
    )  # fmt: skip


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    """Leave room for the labels on all sides, and make the axis logarithmic if latencies differ by much."""
    from matplotlib.ticker import (  # after `make_figure`, which says where matplotlib may write
        FuncFormatter,
        NullFormatter,
    )

    latencies = [latency for point in points for latency in (point.latency_ms.low, point.latency_ms.high)]
    fastest, slowest = min(latencies), max(latencies)
    if slowest > LOG_FROM * fastest:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        margin = (slowest / fastest) ** 0.2
        axes.set_xlim(fastest / margin, slowest * margin)
    else:
        margin = max(slowest - fastest, 0.2 * slowest) * 0.25
        axes.set_xlim(fastest - margin, slowest + margin)
    accuracies = [point.accuracy for point in points]
    room = max(max(accuracies) - min(accuracies), 0.01) * 0.5
    axes.set_ylim(min(accuracies) - room, max(accuracies) + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.1%}" if share < 1.0001 else ""))
