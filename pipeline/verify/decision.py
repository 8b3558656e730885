"""The decision whether an artifact is fast enough, which does not change with the machine's mood."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts.formats import SOURCE
from pipeline.artifacts.states import Basis, Decided
from pipeline.measures.ratios import Place, RatioInterval
from serving.model.records import Speedup


@dataclass(frozen=True)
class SpeedVerdict:
    """Whether an artifact is fast enough to be published.

    Attributes:
        suffices: Whether it is.
        why: What was measured, or why that does not suffice, for people.
        speedup: The speed that was measured now.
        decided: The conclusive comparison behind the verdict; None if there is none, now or earlier.
    """

    suffices: bool
    why: str
    speedup: Speedup
    decided: Decided | None


def decide(speedup: Speedup, bound: float, basis: Basis, earlier: Decided | None) -> SpeedVerdict:
    """Decide whether an artifact is fast enough.

    It is if the whole interval is above the bound. An interval that contains the bound is inconclusive, and
    then what an earlier verification found of the same files on the same machine stays, since nothing speaks
    against it; without one the artifact is not published. So a second verification changes a verdict only
    with an interval that contradicts it, and then says so.

    Args:
        speedup: The speed that was measured now.
        bound: The least speed of what is published, in times that of ``onnx-fp32``.
        basis: What the measurement holds for.
        earlier: The last conclusive comparison of the artifact, whatever it held for; None if there is none.
    """
    place = _place(speedup, bound)
    if earlier is not None and (earlier.basis, earlier.bound) != (basis, bound):
        earlier = None
    if place == "unclear":
        return _decide_unclear(speedup, bound, earlier)
    decided = Decided(faster=place == "above", bound=bound, speedup=speedup, basis=basis)
    why = describe(speedup) if decided.faster else _too_slow(bound, describe(speedup))
    if earlier is not None and earlier.faster != decided.faster:
        why += f"; an earlier verification of the same files on this machine had found {_figures(earlier)}"
    return SpeedVerdict(decided.faster, why, speedup, decided)


def _decide_unclear(speedup: Speedup, bound: float, earlier: Decided | None) -> SpeedVerdict:
    measured = f"inconclusive after {speedup.rounds} rounds: {describe(speedup)}"
    if earlier is None:
        why = (
            f"its speed is {measured}, which may be above or below the {bound:g} times of {SOURCE} that are "
            "required. Verify again when the machine is less busy: graft verify RUN --force; or set "
            "export.limits.FORMAT.min_speedup in the recipe"
        )
        return SpeedVerdict(suffices=False, why=why, speedup=speedup, decided=None)
    before = f"an earlier verification of the same files on this machine found {_figures(earlier)}"
    why = f"{before}, and this one is {measured}"
    if not earlier.faster:
        why = _too_slow(bound, why)
    return SpeedVerdict(earlier.faster, why, speedup, earlier)


def _place(speedup: Speedup, bound: float) -> Place:
    interval = RatioInterval(speedup.median, speedup.low, speedup.high, speedup.rounds or 0)
    return interval.place(bound)


def _too_slow(bound: float, measured: str) -> str:
    return f"it is not {bound:g} times as fast as {SOURCE} ({measured})"


def _figures(decided: Decided) -> str:
    speedup = decided.speedup
    return f"{speedup.median:.2f} [{speedup.low:.2f}, {speedup.high:.2f}]"


def describe(speedup: Speedup) -> str:
    """Describe a speed with its interval, for people."""
    interval = f"[{speedup.low:.2f}, {speedup.high:.2f}]"
    return f"{speedup.median:.2f} {interval} times as fast, on one thread"
