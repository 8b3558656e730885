"""The figures of a receipt are numbers whatever finite answers are compared.

An exact artifact passes at any scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.artifacts.limits import LIMITS
from pipeline.measures.reference import Answers, Reference
from pipeline.verify import comparison
from pipeline.verify.checks import check
from pipeline.verify.comparison import compare, compare_calibration
from pipeline.verify.scoring import BATCH_SIZES, Scores
from serving.model.records import Measured

SAMPLES = 12


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    """The intervals of differences are tested with the metrics, and cost most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "RESAMPLES", 5)
        yield


TEMPERATURES = st.sampled_from([0.2, 0.7, 1.0, 3.0, 20.0])
SCALES = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


def served(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """What an exported graph answers: division and softmax in float32, as ONNX Runtime computes them."""
    scaled = (logits / np.float32(temperature)).astype(np.float32)
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True, dtype=np.float32)


def reference_of(logits: NDArray[np.float32], temperature: float) -> Reference:
    classes = logits.shape[1]
    answers = Answers(logits, np.arange(len(logits)) % classes, ["00" * 32] * len(logits))
    return Reference(answers, answers, temperature, tuple("abcdefgh"[:classes]))


def measure(rows: NDArray[np.float32], reference: Reference, tier: str = "fp32") -> Measured:
    scores = Scores(rows, dict.fromkeys(BATCH_SIZES, rows), np.arange(len(rows)))
    measured = compare(scores, reference, LIMITS[tier])
    return compare_calibration(measured, rows, rows, reference) if measured.shape is None else measured


def failed(measured: Measured, tier: str = "fp32") -> set[str]:
    return {each.name for each in check(measured, LIMITS[tier]) if not each.passed}


def require_numbers(measured: Measured) -> None:
    """Every figure is a finite number, and so JSON."""
    for name, value in measured:
        if isinstance(value, float):
            assert math.isfinite(value), name
    json.dumps(measured.model_dump(mode="json"), allow_nan=False)


@st.composite
def logits_of(draw: st.DrawFn) -> NDArray[np.float32]:
    """Logits of any scale and offset, some rows of which are ties or all alike, or certain of one class."""
    classes, seed, scale = draw(st.integers(2, 5)), draw(st.integers(0, 2**32 - 1)), draw(SCALES)
    rows = np.random.default_rng(seed).normal(0, scale, (SAMPLES, classes))
    for index in range(SAMPLES):
        kind = draw(st.sampled_from(["plain", "plain", "tie", "alike", "certain"]))
        if kind == "tie":
            rows[index, 0] = rows[index, 1]
        elif kind == "alike":
            rows[index] = rows[index, 0]
        elif kind == "certain":
            rows[index] = -scale
            rows[index, draw(st.integers(0, classes - 1))] = 1e3 * scale
    return rows.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(logits=logits_of(), temperature=TEMPERATURES)
def test_an_exact_artifact_passes_at_every_scale(logits: NDArray[np.float32], temperature: float) -> None:
    measured = measure(served(logits, temperature), reference_of(logits, temperature))
    require_numbers(measured)
    assert failed(measured) == set()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=SAMPLES,
        max_size=SAMPLES,
    ),
    scale=SCALES,
)
def test_figures_are_numbers_for_every_finite_answer(rows: list[list[float]], scale: float) -> None:
    """Whatever a broken artifact gives: zeros, negative numbers, the largest that there are."""
    logits = np.random.default_rng(0).normal(0, scale, (SAMPLES, 3)).astype(np.float32)
    measured = measure(np.array(rows, np.float32), reference_of(logits, 1.3))
    require_numbers(measured)
    assert failed(measured), "no such rows are probabilities of these logits"


@pytest.mark.parametrize("classes", [2, 3])
def test_logits_that_are_all_zero_are_compared(classes: int) -> None:
    logits = np.zeros((SAMPLES, classes), np.float32)
    measured = measure(served(logits, 1.0), reference_of(logits, 1.0))
    require_numbers(measured)
    assert failed(measured) == set()
    shifted = logits + np.eye(classes, dtype=np.float32)[0] * np.float32(0.01)
    assert "max_scaled_logits" in failed(measure(served(shifted, 1.0), reference_of(logits, 1.0)))


def test_rounding_of_large_logits_is_no_fault_and_a_changed_probability_is() -> None:
    """Near-black pictures make some networks give logits of ten thousands, of which fp32 holds two digits."""
    rng = np.random.default_rng(0)
    raw = (3e4 + rng.normal(0, 6, (SAMPLES, 3))).astype(np.float32)
    raw[:, 0] += 25  # sure of one class, so that what rounding does to the others shows in logits alone
    rounded = raw + rng.choice([-0.002, 0.0, 0.002], raw.shape).astype(np.float32)
    measured = measure(served(rounded, 1.0), reference_of(raw, 1.0))
    assert measured.max_abs_logits > 1e-3
    assert measured.max_abs_probabilities < 1e-7
    assert failed(measured) == set()
    unsure = raw - np.array([25, 0, 0], np.float32)
    moved = measure(served(unsure + np.float32([0.004, 0, 0]), 1.0), reference_of(unsure, 1.0))
    assert moved.max_scaled_logits < 1e-4, "as little as fp32 may lose of such logits"
    assert "max_abs_probabilities" in failed(moved), "but the answers are others"


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_a_bias_is_no_rounding_whatever_all_logits_have_in_common(offset: float) -> None:
    logits = np.random.default_rng(3).normal(offset, 3, (200, 3)).astype(np.float32)
    biased = logits.astype(np.float64) + np.array([4e-4, 0, 0])
    exponents = np.exp(biased - biased.max(axis=1, keepdims=True))
    rows = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    assert "max_scaled_logits" in failed(measure(rows, reference_of(logits, 1.0)))


@pytest.mark.parametrize("tier", LIMITS)
def test_a_doubled_scale_fails_where_all_answers_are_nearly_even(tier: str) -> None:
    logits = np.random.default_rng(4).normal(0, 2e-4, (200, 3)).astype(np.float32)
    measured = measure(served(logits * np.float32(2), 1.0), reference_of(logits, 1.0), tier)
    assert "confidence_error" in failed(measured, tier)


def test_answers_on_validation_that_are_no_numbers_fail() -> None:
    logits = np.random.default_rng(5).normal(0, 1, (SAMPLES, 3)).astype(np.float32)
    rows, reference = served(logits, 1.0), reference_of(logits, 1.0)
    scores = Scores(rows, dict.fromkeys(BATCH_SIZES, rows), np.arange(len(rows)))
    measured = compare(scores, reference, LIMITS["int8"])
    broken = np.where(rows == rows.max(), np.nan, rows).astype(np.float32)
    assert failed(compare_calibration(measured, rows, broken, reference), "int8") == {"not_finite"}


@pytest.mark.parametrize("tier", LIMITS)
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("fault", ["reversed", "constant", "halved", "zero", "nan", "infinite"])
def test_gross_faults_fail_at_every_scale_that_an_answer_shows(tier: str, scale: float, fault: str) -> None:
    logits = np.random.default_rng(1).normal(0, scale, (SAMPLES, 3)).astype(np.float32)
    rows = served(logits, 1.0)
    broken = {
        "reversed": np.ascontiguousarray(rows[:, ::-1]),
        "constant": np.full_like(rows, 1 / 3),
        "halved": rows / 2,
        "zero": np.zeros_like(rows),
        "nan": np.where(rows == rows.max(), np.nan, rows).astype(np.float32),
        "infinite": np.where(rows == rows.max(), np.inf, rows).astype(np.float32),
    }[fault]
    measured = measure(broken, reference_of(logits, 1.0), tier)
    require_numbers(measured)
    if scale > 1e-6 or fault not in {"reversed", "constant"}:
        assert failed(measured, tier)
    else:  # logits of a millionth make probabilities that differ in the last digit of float32: nothing to see
        assert np.abs(broken - rows).max() < 1e-5


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.99, 1.01, 2.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_a_wrong_temperature_fails(scale: float, factor: float) -> None:
    logits = np.random.default_rng(2).normal(0, scale, (SAMPLES, 3)).astype(np.float32)
    measured = measure(served(logits * np.float32(factor), 1.0), reference_of(logits, 1.0))
    assert "confidence_error" in failed(measured)
    assert measured.confidence == pytest.approx(factor, rel=1e-2)
