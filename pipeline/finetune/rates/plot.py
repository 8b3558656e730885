"""The plot of the learning-rate finder."""

from __future__ import annotations

from pipeline.finetune.rates.sweep import Sweep
from pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, make_figure, to_png

SIZE_IN = (7.2, 4.0)
# The first steps' loss sets the scale: what is over so many times of it is the divergence, which goes out at
# the top.
TOP = 1.6


def plot_sweep(sweep: Sweep, title: str, used: float) -> bytes:
    """Plot the loss at every rate, with the rate that is suggested and the one that the recipe has.

    Args:
        sweep: The sweep.
        title: The run's name.
        used: The peak rate that a training of this recipe has now.

    Returns:
        The bytes of a PNG file.
    """
    figure = make_figure(*SIZE_IN)
    axes = figure.add_subplot()
    axes.plot(sweep.rates, sweep.losses, color=GREY, linewidth=0.8, alpha=0.6, label="loss of each step")
    axes.plot(sweep.rates, sweep.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
    if sweep.suggested is not None:
        label = f"suggested: {sweep.suggested:.1e}"
        axes.axvline(sweep.suggested, color=GREEN, linewidth=1.5, label=label)
        axes.plot(sweep.suggested, _at(sweep, sweep.suggested), "o", color=GREEN)
    axes.axvline(used, color=ORANGE, linewidth=1.2, linestyle="--", label=f"now: {used:.1e}")
    lowest, highest = min(sweep.losses), max(sweep.smoothed[0] * TOP, min(sweep.smoothed) * TOP)
    room = 0.06 * (highest - lowest)
    axes.set_ylim(lowest - room, highest)
    axes.set_xscale("log")
    axes.set(xlabel="peak learning rate of the head", ylabel="training loss, in nats", title=title)
    axes.title.set_fontsize("medium")
    axes.legend(loc="upper left", fontsize="small")
    axes.grid(alpha=0.2)
    return to_png(figure)


def _at(sweep: Sweep, rate: float) -> float:
    """Return the smoothed loss at one of the rates."""
    return sweep.smoothed[sweep.rates.index(rate)]
