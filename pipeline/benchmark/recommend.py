"""The settings to serve with on this machine, by a rule over what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.artifacts.formats import SOURCE
from pipeline.benchmark.rows import Row, Timing, single_runs
from pipeline.errors import GraftError

LEAST_ADVANTAGE = 1.05  # ratio of the medians from which an artifact counts as faster
ROUNDS_PER_EXCEPTION = 5  # in one round of so many a faster artifact may be slower
LEAST_SAVING = 0.1  # share of a run's time that more threads must save


@dataclass(frozen=True)
class Recommendation:
    """The settings to serve with.

    Attributes:
        artifact: Name of the artifact.
        threads: Threads within one run.
        why: The measurements that speak for them, for people.
    """

    artifact: str
    threads: int
    why: str


def recommend(rows: Sequence[Row]) -> Recommendation:
    """Choose the best settings for a service with several callers, from the smallest batch that was measured.

    The artifact is the fastest of those that are surely faster than ``onnx-fp32``, with the fewest threads
    measured: by a twentieth in the median of the rounds, and in all rounds but one of five. Each round is
    compared with the same round of ``onnx-fp32``, so that a machine whose pace changes does not hide a
    difference. If no artifact is surely faster, it is ``onnx-fp32``. Accuracy does not choose: what is
    published has kept to its limits. Of two equally fast artifacts the more accurate is taken.

    The threads are those that answer one caller fastest: more are taken if they save a tenth of a run's
    time at least. A service works on as many requests as there are CPUs, whatever the threads of a run, and
    threads that find no free CPU do not spin. So a run is split while there is one caller, and several run
    side by side when there are more, which costs 0 to 4 % of the throughput (docs/adr/0009).

    Args:
        rows: The measured artifacts in their settings.

    Raises:
        GraftError: Nothing was timed.
    """
    measured = single_runs(rows)
    if not measured:
        reasons = [f"{row.facts.artifact}: {row.unavailable}" for row in rows if row.unavailable]
        raise GraftError(f"no artifact can be run here: {'; '.join(reasons) or 'none is published'}")
    fastest = _choose_artifact(measured)
    timings = [timing for row, timing in measured if row.facts.artifact == fastest.setting.artifact]
    chosen = _choose_threads(sorted(timings, key=lambda timing: timing.setting.threads))
    why = f"{_why_artifact(measured, fastest)}; {_why_threads(timings, chosen)}"
    return Recommendation(chosen.setting.artifact, chosen.setting.threads, why)


def _choose_artifact(measured: Sequence[tuple[Row, Timing]]) -> Timing:
    rivals = _with_fewest_threads(measured)
    source = next((timing for _, timing in rivals if timing.setting.artifact == SOURCE), None)
    if source is not None:
        faster = [(row, timing) for row, timing in rivals if _is_surely_faster(timing, source)]
        if not faster:
            return source
        rivals = faster
    return min(rivals, key=lambda pair: (pair[1].p50_ms.value, -pair[0].facts.accuracy))[1]


def _is_surely_faster(timing: Timing, source: Timing) -> bool:
    rounds = zip(source.rounds_ms, timing.rounds_ms, strict=True)
    ratios = sorted(source_ms / artifact_ms for source_ms, artifact_ms in rounds)
    return ratios[len(ratios) // ROUNDS_PER_EXCEPTION] > 1 and statistics.median(ratios) >= LEAST_ADVANTAGE


def _with_fewest_threads(measured: Sequence[tuple[Row, Timing]]) -> list[tuple[Row, Timing]]:
    """Return one row for each artifact: that of the fewest threads."""
    fewest: dict[str, tuple[Row, Timing]] = {}
    for row, timing in sorted(measured, key=lambda pair: pair[1].setting.threads):
        fewest.setdefault(row.facts.artifact, (row, timing))
    return list(fewest.values())


def _choose_threads(timings: Sequence[Timing]) -> Timing:
    """Return the timing of the fewest threads beyond which more do not save a tenth of the time.

    Args:
        timings: The timings of one artifact, by rising threads.
    """
    chosen = timings[0]
    for timing in timings[1:]:
        if timing.p50_ms.value <= (1 - LEAST_SAVING) * chosen.p50_ms.value:
            chosen = timing
    return chosen


def _why_artifact(measured: Sequence[tuple[Row, Timing]], chosen: Timing) -> str:
    rivals = {timing.setting.artifact: timing for _, timing in _with_fewest_threads(measured)}
    source = rivals.get(SOURCE)
    if source is None:
        return f"{chosen.setting.artifact} is the fastest that can be run here"
    if chosen is not source:
        times = source.p50_ms.value / chosen.p50_ms.value
        return f"{chosen.setting.artifact} is {times:.2f} times as fast as {SOURCE}"
    return (
        f"no other artifact is surely faster than {SOURCE}"
        if len(rivals) > 1
        else f"{SOURCE} is the only one"
    )


def _why_threads(timings: Sequence[Timing], chosen: Timing) -> str:
    fewest = min(timings, key=lambda timing: timing.setting.threads)
    many = "1 thread a run" if chosen.setting.threads == 1 else f"{chosen.setting.threads} threads a run"
    if chosen is fewest:
        return f"{many}, on which no more threads improve" if len(timings) > 1 else many
    p50_ms, slower_ms = chosen.p50_ms.value, fewest.p50_ms.value
    return f"{many}, which answer one caller in {p50_ms:.2f} ms instead of {slower_ms:.2f}"
