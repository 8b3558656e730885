"""The report's plot of the differences between the model and its opponents."""

from __future__ import annotations

from textwrap import fill

from pipeline.measures.records import TransferVerdict
from pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, make_figure, to_png

WIDTH_IN, ROW_IN, REST_IN = 9.2, 0.5, 0.9
CHARACTERS_ACROSS = 42


def plot_differences(verdict: TransferVerdict) -> bytes | None:
    """Plot each difference with its interval, as PNG; None where there is no opponent.

    To the right of 0 the model is better. The band holds the differences that count as none.

    Args:
        verdict: The verdict on transfer.
    """
    rows = verdict.opponents
    if not rows:
        return None
    figure = make_figure(WIDTH_IN, REST_IN + ROW_IN * len(rows))
    axes = figure.add_subplot()
    axes.axvspan(-verdict.margin, verdict.margin, color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for place, row in enumerate(rows):
        low, high = row.difference_95
        colour = GREEN if low > 0 else ORANGE if high < 0 else BLUE
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(row.difference, place, color=colour, marker="o", ms=7)
    axes.set_yticks(range(len(rows)), [fill(row.name, CHARACTERS_ACROSS) for row in rows], fontsize="small")
    axes.set(
        ylim=(len(rows) - 0.5, -0.5), xlabel="the model is worse   ←   difference   →   the model is better"
    )
    axes.grid(axis="x", alpha=0.2)
    return to_png(figure)
