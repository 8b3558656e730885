"""The decision on an artifact's speed, on machines whose noise is made up and whose clock is simulated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts.states import Basis, Decided
from pipeline.verify import speed
from pipeline.verify.decision import SpeedVerdict, decide
from pipeline.verify.speed import measure_speedup
from serving.model.records import Speedup

BOUND = 1.1
BASIS = Basis(files=("a",), source_files=("b",), cpu="c", gpu=None, runtimes=("r", "r"))
SAMPLES = [SimpleNamespace(read=lambda: b"")]


class Machine:
    """A machine whose clocks pass only when a scorer runs, by a noisy time or more slowly all the time."""

    def __init__(self, seed: int, noise: float = 0.15, drift: float = 0.0) -> None:
        self.random, self.noise, self.drift = np.random.default_rng(seed), noise, drift
        self.cpu_s, self.wall_s, self.runs = 0.0, 0.0, 0

    def process_time(self) -> float:
        return self.cpu_s

    def perf_counter(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.wall_s

    def scorer(self, seconds: float, runtime: str = "onnxruntime-cpu") -> Any:
        """Return an artifact that takes so much CPU time, and ten times as much while others run."""

        def score(_: object) -> None:
            self.runs += 1
            pace = np.exp(self.noise * self.random.standard_t(3)) + self.drift * self.runs
            self.cpu_s += seconds * pace
            self.wall_s += seconds * pace * self.random.integers(1, 10)

        decoded = SimpleNamespace(array=None)
        return SimpleNamespace(
            artifact=SimpleNamespace(runtime=runtime), decode=lambda _: decoded, score=score
        )


def verify(
    monkeypatch: pytest.MonkeyPatch, truth: float, seed: int, earlier: Decided | None = None
) -> SpeedVerdict:
    machine = Machine(seed)
    monkeypatch.setattr(speed, "time", machine)
    measured = measure_speedup(machine.scorer(0.01), machine.scorer(0.01 / truth), SAMPLES, BOUND)
    return decide(measured, BOUND, BASIS, earlier)


@pytest.mark.parametrize(("truth", "suffices"), [(1.6, True), (0.7, False)])
def test_what_is_clearly_faster_or_slower_gets_the_same_verdict_from_every_verification(
    monkeypatch: pytest.MonkeyPatch, truth: float, suffices: bool
) -> None:
    verdicts = [verify(monkeypatch, truth, seed) for seed in range(100)]
    assert {verdict.suffices for verdict in verdicts} == {suffices}
    assert all(verdict.decided and verdict.decided.faster is suffices for verdict in verdicts)


def test_what_is_at_the_bound_is_inconclusive_after_all_rounds_and_is_not_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verdicts = [verify(monkeypatch, BOUND, seed) for seed in range(200)]
    unclear = [verdict for verdict in verdicts if verdict.decided is None]
    assert len(unclear) >= 190, "at most 2 in 100 on each side are decided by chance"
    assert sum(verdict.suffices for verdict in verdicts) <= 6
    assert {verdict.speedup.rounds for verdict in unclear} == {64}
    assert not any(verdict.suffices for verdict in unclear)
    assert unclear[0].why.startswith("its speed is inconclusive after 64 rounds: 1.")
    assert "graft verify RUN --force" in unclear[0].why


@pytest.mark.parametrize("truth", [1.04, 1.1, 1.14, 1.16, 1.2])
def test_verdicts_do_not_flap_between_verifications_near_the_bound(
    monkeypatch: pytest.MonkeyPatch, truth: float
) -> None:
    """Of runs that are verified ten times: how often a verdict on a published file was reversed."""
    reversals = told = 0
    for run in range(20):
        decided: Decided | None = None
        for again in range(10):
            verdict = verify(monkeypatch, truth, seed=100 * run + again, earlier=decided)
            if decided is not None and verdict.suffices != decided.faster:
                reversals += 1
                told += "had found" in verdict.why
            decided = verdict.decided
    assert reversals <= 4, "of 180 second verifications"
    assert told == reversals, "a verdict that is reversed says so"


def test_a_machine_that_slows_down_steadily_favours_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0, noise=0.0, drift=0.01)
    monkeypatch.setattr(speed, "time", machine)
    measured = measure_speedup(machine.scorer(0.01), machine.scorer(0.01), SAMPLES, 1.0)
    assert measured.median == pytest.approx(1.0, abs=1e-9)


def test_the_load_of_other_processes_is_not_in_the_time_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0, noise=0.0)
    monkeypatch.setattr(speed, "time", machine)
    measured = measure_speedup(machine.scorer(0.01), machine.scorer(0.005), SAMPLES, BOUND)
    assert (measured.low, measured.high, measured.rounds) == (pytest.approx(2), pytest.approx(2), 8)


def test_an_accelerator_is_timed_by_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0, noise=0.0)
    monkeypatch.setattr(speed, "time", machine)
    other = machine.scorer(0.005, "onnxruntime-cuda")
    measured = measure_speedup(machine.scorer(0.01), other, SAMPLES, BOUND)
    assert measured.high > measured.low, "the wall has the others' load in it"


def decided(median: float, low: float, high: float, **changes: Any) -> Decided:
    figures = Speedup(median=median, low=low, high=high, samples=16, rounds=8)
    fields = {"faster": low >= BOUND, "bound": BOUND, "speedup": figures, "basis": BASIS}
    return Decided(**(fields | changes))


UNCLEAR = Speedup(median=1.12, low=1.05, high=1.2, samples=16, rounds=64)


def test_an_earlier_verdict_on_the_same_files_stays_where_the_new_one_is_inconclusive() -> None:
    faster, slower = decided(1.3, 1.2, 1.4), decided(1.0, 0.9, 1.05)
    kept = decide(UNCLEAR, BOUND, BASIS, faster)
    assert (kept.suffices, kept.decided) == (True, faster)
    assert kept.why == (
        "an earlier verification of the same files on this machine found 1.30 [1.20, 1.40], and this one is "
        "inconclusive after 64 rounds: 1.12 [1.05, 1.20] times as fast, on one thread"
    )
    kept = decide(UNCLEAR, BOUND, BASIS, slower)
    assert (kept.suffices, kept.decided) == (False, slower)
    assert kept.why.startswith("it is not 1.1 times as fast as onnx-fp32 (an earlier verification")


@pytest.mark.parametrize(
    "changes",
    [
        {"bound": 1.5},
        *(
            {"basis": BASIS.model_copy(update=other)}
            for other in ({"files": ("x",)}, {"source_files": ("x",)}, {"cpu": "x"}, {"runtimes": ("r", "x")})
        ),
    ],
)
def test_an_earlier_verdict_on_anything_else_does_not_count(changes: dict[str, Any]) -> None:
    verdict = decide(UNCLEAR, BOUND, BASIS, decided(1.3, 1.2, 1.4, **changes))
    assert (verdict.suffices, verdict.decided) == (False, None)


def test_a_conclusive_measurement_overrules_the_earlier_one_and_says_so() -> None:
    slow = Speedup(median=1.0, low=0.95, high=1.05, samples=16, rounds=8)
    verdict = decide(slow, BOUND, BASIS, decided(1.3, 1.2, 1.4))
    assert verdict.suffices is False
    assert verdict.why.endswith(
        "an earlier verification of the same files on this machine had found 1.30 [1.20, 1.40]"
    )
