"""The settings to serve with on this machine, by a rule over what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.artifacts.formats import SOURCE
from pipeline.benchmark.rows import Row, Timing, single_runs
from pipeline.errors import GraftError
from pipeline.measures.ratios import RatioInterval, estimate_ratio

LEAST_ADVANTAGE = 1.05  # ratio of the medians from which an artifact counts as faster
LEAST_SAVING = 0.1  # share of a run's time that more threads must save
Policy = Callable[[Timing], bool]
"""Whether a setting is taken that is not clearly better than the one beside it."""


@dataclass(frozen=True)
class Former:
    """The settings that were recommended before, of the same bundle on the same machine.

    Attributes:
        artifact: Name of the artifact.
        threads: Threads within one run.
    """

    artifact: str
    threads: int


@dataclass(frozen=True)
class Recommendation:
    """The settings to serve with.

    Attributes:
        artifact: Name of the artifact.
        threads: Threads within one run.
        why: The measurements that speak for them, for people.
        is_clear: Whether what was measured decides it. If it does not, ``why`` says what did.
    """

    artifact: str
    threads: int
    why: str
    is_clear: bool = True


def recommend(rows: Sequence[Row], former: Former | None = None) -> Recommendation:
    """Choose the best settings for a service with several callers, from the smallest batch that was measured.

    The artifact is the fastest with the fewest threads that were measured: from ``onnx-fp32`` on, another
    takes the place of the best so far if it is at least 1.05 times as fast. Each round is compared with the
    same round of the other, so that a machine whose pace changes does not hide a difference, and the whole
    interval of the rounds' ratios has to say so. Accuracy does not choose: what is published has kept to its
    limits. But the more accurate of two is asked first, so that of two equally fast ones it is taken.

    The threads are those that answer one caller fastest: more are taken if they save a tenth of a run's
    time at least. A service works on as many requests as there are CPUs, whatever the threads of a run, and
    threads that find no free CPU do not spin. So a run is split while there is one caller, and several run
    side by side when there are more, which costs 0 to 4 % of the throughput (docs/adr/0009).

    Where an interval contains its bound, the former setting stays if it is one of the two, and otherwise the
    plainer one does. So a second benchmark changes its advice only when the rounds contradict the first.

    Args:
        rows: The measured artifacts in their settings.
        former: The settings that were recommended before; by default none.

    Raises:
        GraftError: Nothing was timed.
    """
    measured = single_runs(rows)
    if not measured:
        reasons = [f"{row.facts.artifact}: {row.unavailable}" for row in rows if row.unavailable]
        raise GraftError(f"no artifact can be run here: {'; '.join(reasons) or 'none is published'}")
    first, chosen = _choose(measured, lambda timing: _is_former(timing, former))
    plainest, boldest = _choose(measured, lambda _: False)[1], _choose(measured, lambda _: True)[1]
    is_clear = plainest is chosen is boldest
    timings = _timings_of(measured, chosen.setting.artifact)
    why = f"{_why_artifact(measured, first)}; {_why_threads(timings, chosen)}"
    if not is_clear:
        why += _why_unclear(chosen, former)
    return Recommendation(chosen.setting.artifact, chosen.setting.threads, why, is_clear)


def _choose(measured: Sequence[tuple[Row, Timing]], policy: Policy) -> tuple[Timing, Timing]:
    """Choose an artifact and its threads; return the artifact's timing with the fewest threads, and that."""
    artifact = _choose_artifact(measured, policy)
    return artifact, _choose_threads(_timings_of(measured, artifact.setting.artifact), policy)


def _choose_artifact(measured: Sequence[tuple[Row, Timing]], policy: Policy) -> Timing:
    rivals = sorted(_with_fewest_threads(measured), key=lambda pair: -pair[0].facts.accuracy)
    by_name = {timing.setting.artifact: timing for _, timing in rivals}
    best = by_name.get(SOURCE, rivals[0][1])
    for timing in by_name.values():
        if timing is not best and _is_better(timing, best, LEAST_ADVANTAGE, policy):
            best = timing
    return best


def _choose_threads(timings: Sequence[Timing], policy: Policy) -> Timing:
    """Return the timing of the fewest threads beyond which more do not save a tenth of the time.

    Args:
        timings: The timings of one artifact, by rising threads.
        policy: Whether more threads are taken where that is not clear.
    """
    chosen = timings[0]
    for timing in timings[1:]:
        if _is_better(timing, chosen, 1 / (1 - LEAST_SAVING), policy):
            chosen = timing
    return chosen


def _is_better(timing: Timing, other: Timing, bound: float, policy: Policy) -> bool:
    place = _advantage(timing, other).place(bound)
    return place == "above" or (place == "unclear" and policy(timing))


def _advantage(timing: Timing, other: Timing) -> RatioInterval:
    """Return how many times as fast a setting is as another, by the rounds that both were timed in."""
    rounds = zip(other.rounds_ms, timing.rounds_ms, strict=True)
    return estimate_ratio([other_ms / own_ms for other_ms, own_ms in rounds])


def _is_former(timing: Timing, former: Former | None) -> bool:
    """Return whether a setting was recommended before.

    Artifacts are compared with the fewest threads, whatever threads were recommended with them.
    """
    if former is None or timing.setting.artifact != former.artifact:
        return False
    return timing.setting.threads <= former.threads


def _timings_of(measured: Sequence[tuple[Row, Timing]], artifact: str) -> list[Timing]:
    """Return the timings of an artifact, by rising threads."""
    timings = [timing for row, timing in measured if row.facts.artifact == artifact]
    return sorted(timings, key=lambda timing: timing.setting.threads)


def _with_fewest_threads(measured: Sequence[tuple[Row, Timing]]) -> list[tuple[Row, Timing]]:
    """Return one row for each artifact: that of the fewest threads."""
    fewest: dict[str, tuple[Row, Timing]] = {}
    for row, timing in sorted(measured, key=lambda pair: pair[1].setting.threads):
        fewest.setdefault(row.facts.artifact, (row, timing))
    return list(fewest.values())


def _why_artifact(measured: Sequence[tuple[Row, Timing]], chosen: Timing) -> str:
    rivals = {timing.setting.artifact: timing for _, timing in _with_fewest_threads(measured)}
    source = rivals.get(SOURCE)
    if source is None:
        return f"{chosen.setting.artifact} is the fastest that can be run here"
    if chosen is not source:
        return (
            f"{chosen.setting.artifact} is {_advantage(chosen, source).median:.2f} times as fast as {SOURCE}"
        )
    return (
        f"no other artifact is surely faster than {SOURCE}"
        if len(rivals) > 1
        else f"{SOURCE} is the only one"
    )


def _why_threads(timings: Sequence[Timing], chosen: Timing) -> str:
    fewest = timings[0]
    many = "1 thread a run" if chosen.setting.threads == 1 else f"{chosen.setting.threads} threads a run"
    if chosen is fewest:
        return f"{many}, on which no more threads improve" if len(timings) > 1 else many
    p50_ms, slower_ms = chosen.p50_ms.value, fewest.p50_ms.value
    return f"{many}, which answer one caller in {p50_ms:.2f} ms instead of {slower_ms:.2f}"


def _why_unclear(chosen: Timing, former: Former | None) -> str:
    rounds = len(chosen.rounds_ms)
    stays = former == Former(chosen.setting.artifact, chosen.setting.threads)
    reason = "the settings that were recommended before stay" if stays else "the plainer settings are taken"
    return f"; {rounds} rounds do not make it clear, so {reason}"
