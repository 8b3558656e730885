from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmark import measure
from pipeline.benchmark.cold import peak_rss_mb
from pipeline.benchmark.measure import Slot, measure_settings, summarise_slots
from pipeline.benchmark.plot import Point, pareto_front
from pipeline.benchmark.rows import Setting, Spread, Timing
from tests.conftest import ROOT

ARRAYS = [np.array([index]) for index in range(5)]
SECONDS = st.floats(min_value=1e-6, max_value=10)


class Clock:
    """Time that passes only when a scorer says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Fake:
    """A scorer that takes so many seconds an input, and writes down what it was given."""

    def __init__(self, clock: Clock, seconds: float, calls: list[tuple[Fake, list[int]]]) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, calls

    def score(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        self.clock.now += self.seconds * len(arrays)
        self.calls.append((self, [int(array[0]) for array in arrays]))
        return np.zeros((len(arrays), 2), np.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    return clock


def fakes(clock: Clock, calls: list[tuple[Fake, list[int]]]) -> dict[Setting, Fake]:
    return {
        Setting("onnx-fp32", 1, 1): Fake(clock, 0.004, calls),
        Setting("onnx-fp32", 1, 8): Fake(clock, 0.002, calls),
        Setting("onnx-int8", 1, 1): Fake(clock, 0.001, calls),
    }


def test_measure_settings_times_each_and_its_batches(clock: Clock) -> None:
    found = measure_settings(fakes(clock, []), ARRAYS, rounds=3, seconds=1, seed=0)
    single, eight, int8 = found.values()
    assert (single.p50_ms.value, eight.p50_ms.value, int8.p50_ms.value) == pytest.approx((4, 16, 1))
    assert single.samples_per_s == Spread(*[pytest.approx(250)] * 3)
    assert eight.samples_per_s.value == pytest.approx(500)
    assert [timing.setting for timing in found.values()] == list(fakes(clock, []))


def test_every_setting_gets_the_same_inputs_in_every_round(clock: Clock) -> None:
    calls: list[tuple[Fake, list[int]]] = []
    scorers = fakes(clock, calls)
    found = measure_settings(scorers, ARRAYS, rounds=3, seconds=1, seed=0)
    inputs = {setting: timing.batches * setting.batch_size for setting, timing in found.items()}
    assert len(set(inputs.values())) == 1
    assert (
        inputs[Setting("onnx-int8", 1, 1)] == 3 * 40
    )  # 0.333 s a round at 7 ms an input in all three, in whole batches of 8
    timed = [given for fake, given in calls if fake is scorers[Setting("onnx-fp32", 1, 8)]]
    assert timed[-1] == [(32 + index) % 5 for index in range(8)], "samples are gone through again"


def orders(clock: Clock, seed: int) -> list[tuple[Setting, ...]]:
    """In which order each of eight rounds took the settings.

    A round is one batch of the largest size here.
    """
    calls: list[tuple[Fake, list[int]]] = []
    scorers = fakes(clock, calls)
    measure_settings(scorers, ARRAYS, rounds=8, seconds=1e-9, seed=seed)
    names = {fake: setting for setting, fake in scorers.items()}
    measured = calls[3 * (1 + measure.WARM_UP_BATCHES) :]
    a_round = (1 + 8) + (1 + 1) + (1 + 8)  # each begins with a run that is not timed
    return [
        tuple(dict.fromkeys(names[fake] for fake, _ in measured[start : start + a_round]))
        for start in range(0, len(measured), a_round)
    ]


def test_a_round_has_every_setting_once_in_an_order_of_its_own(clock: Clock) -> None:
    found = orders(clock, seed=3)
    assert [set(order) for order in found] == [set(fakes(clock, []))] * 8
    assert len(set(found)) > 1
    assert found == orders(clock, seed=3)
    assert found != orders(clock, seed=4)


def test_little_time_still_means_one_batch_of_the_largest_size_a_round(clock: Clock) -> None:
    found = measure_settings(fakes(clock, []), ARRAYS, rounds=2, seconds=1e-9, seed=0)
    assert {setting.batch_size: timing.batches for setting, timing in found.items()} == {1: 16, 8: 2}


def test_the_time_is_about_what_was_asked_for(clock: Clock) -> None:
    measure_settings(fakes(clock, []), ARRAYS, rounds=5, seconds=60, seed=0)
    assert 55 < clock.now < 62


@pytest.mark.parametrize(("clear_from", "rounds"), [(2, 2), (3, 4), (5, 8), (99, 8)])
def test_the_smallest_batch_gets_more_rounds_while_the_choice_is_not_clear(
    clear_from: int, rounds: int, clock: Clock
) -> None:
    single = Setting("onnx-fp32", 1, 1)

    def is_clear(timings: Mapping[Setting, Timing]) -> bool:
        return len(timings[single].rounds_ms) >= clear_from

    found = measure_settings(fakes(clock, []), ARRAYS, rounds=2, seconds=1, seed=0, is_clear=is_clear)
    timed = {setting: len(timing.rounds_ms) for setting, timing in found.items()}
    assert timed == {setting: rounds if setting.batch_size == 1 else 2 for setting in found}


@given(
    st.integers(1, 20).flatmap(
        lambda size: st.lists(st.lists(SECONDS, min_size=size, max_size=size), min_size=1, max_size=6)
    ),
    st.integers(1, 64),
)
def test_percentiles_rise_and_the_median_lies_within_its_rounds(
    rounds: list[list[float]], batch_size: int
) -> None:
    timing = summarise_slots(Setting("x", 1, batch_size), [Slot(batch_size, seconds) for seconds in rounds])
    everything = sorted(1000 * second for seconds in rounds for second in seconds)
    assert timing.batches == len(everything)
    slack = 1e-9 * everything[-1]
    assert everything[0] - slack <= timing.p50_ms.value <= timing.p90_ms + slack
    assert timing.p90_ms <= timing.p99_ms + slack <= everything[-1] + 2 * slack
    assert timing.p50_ms.value == pytest.approx(statistics.median(everything))
    for spread in (timing.p50_ms, timing.samples_per_s):
        assert spread.low * (1 - 1e-9) <= spread.value <= spread.high * (1 + 1e-9)


POINTS = st.builds(
    lambda latency, accuracy: Point("x", Spread(latency, latency, latency), accuracy, 1.0),
    st.integers(1, 20).map(float),
    st.integers(0, 10).map(lambda n: n / 10),
)


@given(st.lists(POINTS, min_size=1, max_size=12))
def test_the_pareto_front_is_what_nothing_else_beats(points: list[Point]) -> None:
    def beats(a: Point, b: Point) -> bool:
        no_worse = a.latency_ms.value <= b.latency_ms.value and a.accuracy >= b.accuracy
        return no_worse and (a.latency_ms.value, a.accuracy) != (b.latency_ms.value, b.accuracy)

    front = pareto_front(points)
    assert sorted(map(repr, front)) == sorted(
        repr(point) for point in points if not any(beats(other, point) for other in points)
    )
    assert [point.latency_ms.value for point in front] == sorted(point.latency_ms.value for point in front)


def test_a_process_that_starts_cold_loads_neither_torch_nor_the_plots() -> None:
    script = (
        "import sys, json, pipeline.benchmark.cold; print(json.dumps(sorted("
        "{'torch', 'matplotlib', 'sklearn', 'onnx', 'bentoml'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_peak_of_memory_is_a_process_of_its_own() -> None:
    ballast = np.ones(40_000_000)  # 320 MB, which a new process must not inherit
    script = "from pipeline.benchmark.cold import peak_rss_mb; print(peak_rss_mb())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert 10 < float(done.stdout) < 300 < peak_rss_mb()
    assert ballast[-1] == 1
