from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.benchmark.recommend import LEAST_SAVING, Former, recommend
from pipeline.benchmark.rows import Row, Timing
from pipeline.errors import GraftError
from tests.pipeline.benchmark.cases import FIGURES, make_row, measured_rows


def timing_of(rows: list[Row], artifact: str, threads: int) -> Timing:
    return next(
        row.timing
        for row in rows
        if row.timing
        and row.timing.setting
        == dataclasses.replace(row.timing.setting, artifact=artifact, threads=threads, batch_size=1)
    )


def is_surely_faster(timing: Timing, other: Timing, bound: float = 1.05) -> bool:
    """The rule once more: of eight rounds the interval is all of them."""
    return bool((np.array(other.rounds_ms) / np.array(timing.rounds_ms) >= bound).all())


def unavailable(artifact: str, why: str) -> Row:
    return dataclasses.replace(make_row(artifact, 1), cold=None, timing=None, unavailable=why)


@given(measured_rows())
def test_another_artifact_is_recommended_only_when_it_is_surely_faster(rows: list[Row]) -> None:
    found = recommend(rows)
    source, chosen = timing_of(rows, "onnx-fp32", 1), timing_of(rows, found.artifact, 1)
    assert chosen == source or is_surely_faster(chosen, source)
    others = [timing_of(rows, name, 1) for name in {row.facts.artifact for row in rows}]
    assert not any(is_surely_faster(other, chosen) for other in others)


@given(measured_rows())
def test_more_threads_are_recommended_only_when_they_surely_save_a_tenth_of_a_run(rows: list[Row]) -> None:
    found, bound = recommend(rows), 1 / (1 - LEAST_SAVING)
    one, two, four = (timing_of(rows, found.artifact, threads) for threads in (1, 2, 4))
    chosen = timing_of(rows, found.artifact, found.threads)
    assert chosen == one or is_surely_faster(chosen, one, bound)
    assert not any(
        is_surely_faster(more, chosen, bound) for more in (two, four) if more.setting.threads > found.threads
    )


@given(measured_rows(), st.randoms())
def test_the_order_of_rows_and_larger_batches_do_not_matter(rows: list[Row], random: object) -> None:
    shuffled = random.sample(rows, len(rows))  # type: ignore[attr-defined]
    singles = [row for row in shuffled if row.timing and row.timing.setting.batch_size == 1]
    found = recommend(rows)
    for others in (shuffled, singles):
        again = recommend(others)
        assert (
            timing_of(rows, again.artifact, 1).p50_ms.value == timing_of(rows, found.artifact, 1).p50_ms.value
        )


@given(FIGURES, st.floats(1.01, 100))
def test_a_pace_that_is_the_same_for_all_changes_nothing(p50_ms: float, pace: float) -> None:
    def rows(factor: float) -> list[Row]:
        return [make_row("onnx-fp32", p50_ms * factor), make_row("onnx-int8", p50_ms * factor / 2)]

    assert recommend(rows(1)).artifact == recommend(rows(pace)).artifact == "onnx-int8"


def test_of_equally_fast_artifacts_the_more_accurate_is_recommended() -> None:
    rows = [
        make_row("onnx-fp32", 9),
        make_row("onnx-int8", 2, accuracy=0.8),
        make_row("onnx-fp16", 2, accuracy=0.9),
    ]
    assert recommend(rows).artifact == "onnx-fp16"


def noisy(seed: int, ms: float, artifact: str = "onnx-fp32", threads: int = 1, rounds: int = 8) -> Row:
    paces = np.exp(0.05 * np.random.default_rng(seed).standard_normal(rounds))
    return make_row(artifact, ms, paces=tuple(paces), threads=threads)


def test_an_advantage_that_some_rounds_do_not_show_is_not_clear_and_the_reason_says_so() -> None:
    paces = (1, 1, 1.3, 1.3, 1, 1, 1, 1)
    found = recommend([make_row("onnx-fp32", 10), make_row("openvino-fp32", 8.5, paces=paces)])
    assert (found.artifact, found.threads, found.is_clear) == ("onnx-fp32", 1, False)
    assert found.why == (
        "no other artifact is surely faster than onnx-fp32; 1 thread a run; "
        "8 rounds do not make it clear, so the plainer settings are taken"
    )


def test_too_few_rounds_are_never_clear() -> None:
    rows = [make_row("onnx-fp32", 10, paces=(1,) * 7), make_row("onnx-int8", 2, paces=(1,) * 7)]
    assert recommend(rows).is_clear is False


@pytest.mark.parametrize("pace", [(1, 3, 2, 1, 1.5, 1, 1, 4), (1,) * 8])
def test_rounds_in_which_the_machine_was_slow_for_both_do_not_hide_an_advantage(
    pace: tuple[float, ...],
) -> None:
    rows = [make_row("onnx-fp32", 10, paces=pace), make_row("openvino-fp32", 8.5, paces=pace)]
    found = recommend(rows)
    assert (found.artifact, found.is_clear) == ("openvino-fp32", True)


def test_a_disturbed_round_of_sixteen_does_not_hide_an_advantage() -> None:
    paces = (1,) * 15
    rows = [make_row("onnx-fp32", 10, paces=(1, *paces)), make_row("openvino-fp32", 8.5, paces=(4, *paces))]
    assert recommend(rows).artifact == "openvino-fp32"


@pytest.mark.parametrize("ms", [10.0, 9.7, 9.5, 9.3])
def test_advice_does_not_flap_between_benchmarks_near_the_bounds(ms: float) -> None:
    """Of runs that are measured ten times: how often advice that had been left came back."""
    returns = 0
    for run in range(20):
        advice: list[Former] = []
        for again in range(10):
            seed = 1000 * run + 10 * again
            rows = [
                noisy(seed, 10),
                noisy(seed + 1, ms, "openvino-fp32"),
                noisy(seed + 2, 0.9 * ms, "openvino-fp32", 2),
            ]
            found = recommend(rows, advice[-1] if advice else None)
            settings = Former(found.artifact, found.threads)
            returns += bool(advice) and settings != advice[-1] and settings in advice
            advice.append(settings)
    assert returns <= 2, "of 180 second benchmarks"


def test_settings_that_were_recommended_before_stay_where_the_rounds_do_not_speak_against_them() -> None:
    paces = (1, 1, 1.1, 0.9, 1, 1, 1, 1)
    rows = [
        make_row("onnx-fp32", 10),
        make_row("openvino-fp32", 9.5, paces=paces),
        make_row("openvino-fp32", 8.5, paces=paces, threads=2),
    ]
    found = recommend(rows, Former("openvino-fp32", 2))
    assert (found.artifact, found.threads, found.is_clear) == ("openvino-fp32", 2, False)
    assert found.why.endswith("so the settings that were recommended before stay")
    assert recommend(rows).artifact == "onnx-fp32"
    slower = [make_row("onnx-fp32", 10), make_row("openvino-fp32", 12)]
    assert recommend(slower, Former("openvino-fp32", 2)).artifact == "onnx-fp32", "they are contradicted"


def test_two_threads_that_cut_a_run_by_a_third_are_recommended() -> None:
    found = recommend([make_row("onnx-fp32", 9), make_row("onnx-fp32", 6, threads=2)])
    assert found.threads == 2
    assert "2 threads a run, which answer one caller in 6.00 ms instead of 9.00" in found.why


def test_two_threads_that_save_next_to_nothing_are_not_recommended() -> None:
    found = recommend([make_row("onnx-fp32", 9), make_row("onnx-fp32", 8.5, threads=2)])
    assert found.threads == 1
    assert "1 thread a run, on which no more threads improve" in found.why


def test_artifacts_are_compared_with_the_fewest_threads_that_were_measured() -> None:
    rows = [
        make_row(name, p50_ms, threads=threads)
        for name, p50_ms, threads in (("onnx-fp32", 5, 2), ("onnx-fp32", 4, 4), ("onnx-int8", 3, 2))
    ]
    assert (recommend(rows).artifact, recommend(rows).threads) == ("onnx-int8", 2)


def test_what_runs_is_recommended_when_the_rest_cannot_be_run() -> None:
    found = recommend([unavailable("onnx-fp32", "gone"), make_row("openvino-fp32", 5)])
    assert found.artifact == "openvino-fp32"
    assert "the fastest that can be run here" in found.why


def test_recommend_refuses_when_nothing_can_be_run() -> None:
    with pytest.raises(GraftError, match=r"no artifact can be run here: cuda-fp16: no libcuda\.so"):
        recommend([unavailable("cuda-fp16", "no libcuda.so")])
