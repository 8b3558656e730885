from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from pipeline.measures.metrics import (
    _summarise_fast,
    bootstrap,
    compare_with_baseline,
    measure,
    paired_differences,
    summarise,
)
from pipeline.measures.records import ClassMetrics, Figures
from pipeline.tasks.classification import CLASSIFICATION

softmax = CLASSIFICATION.probabilities


def scores(classes: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, count)
    return (rng.normal(0, 1, (count, classes)) + 1.5 * np.eye(classes)[targets]).astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 4])
def test_measure_agrees_with_scikit_learn(classes: int) -> None:
    logits, targets = scores(classes)
    labels = [f"c{i}" for i in range(classes)]
    metrics = measure(logits, targets, labels, 1.5, resamples=100, seed=0)
    probabilities = softmax(logits, 1.5)
    assert metrics.accuracy == (logits.argmax(1) == targets).mean()
    assert metrics.macro_f1 == pytest.approx(f1_score(targets, logits.argmax(1), average="macro"))
    reference = roc_auc_score(
        targets, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr"
    )
    assert metrics.auroc == pytest.approx(reference)
    assert sum(map(sum, metrics.confusion_matrix.counts)) == len(targets)
    assert metrics.per_class["c0"].support == int((targets == 0).sum())
    json.dumps(metrics.model_dump(mode="json"), allow_nan=False)


def test_intervals_hold_the_estimate_and_narrow_with_more_samples() -> None:
    widths = []
    for count in (100, 1600):
        logits, targets = scores(2, count)
        metrics = measure(logits, targets, ["a", "b"], 1.0, resamples=300, seed=0)
        for name in ("accuracy", "macro_f1", "auroc"):
            low, high = getattr(metrics.intervals_95, name)
            assert low <= getattr(metrics, name) <= high
        low, high = metrics.intervals_95.accuracy
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_fast_summary_equals_scikit_learn(classes: int) -> None:
    logits, targets = scores(classes, 60 + 5 * classes)
    targets[:classes] = np.arange(classes)
    probabilities = np.round(softmax(logits), 2)  # with ties
    fast, slow = _summarise_fast(probabilities, targets), summarise(probabilities, targets)
    assert fast == pytest.approx(slow, abs=1e-12)


def test_bootstrap_ends_when_there_are_many_small_classes() -> None:
    probabilities = softmax(np.random.default_rng(0).normal(0, 1, (50, 50)))
    intervals = bootstrap(probabilities, np.arange(50), 100, 0)
    assert all(np.isfinite(bounds).all() for bounds in intervals.model_dump().values())


def test_measure_counts_a_class_that_is_never_predicted() -> None:
    logits = np.array([[2.0, 1.0, 0.0]] * 20, np.float32)
    metrics = measure(logits, np.arange(20) % 3, ["a", "b", "c"], 1.0, resamples=100, seed=0)
    assert metrics.per_class["c"] == ClassMetrics(precision=0.0, recall=0.0, f1=0.0, support=6)


@pytest.mark.parametrize("classes", [2, 3, 21])
def test_paired_differences_are_nothing_between_a_model_and_itself(classes: int) -> None:
    logits, targets = scores(classes, 40 * classes)
    probabilities = softmax(logits)
    differences = paired_differences(probabilities, probabilities, targets, resamples=20, seed=0)
    assert set(differences) == set(Figures.model_fields) - ({"auroc"} if classes > 20 else set())
    assert all(found == {"value": 0.0, "interval_95": [0.0, 0.0]} for found in differences.values())


def test_compare_with_baseline_says_who_leads_and_by_how_much() -> None:
    logits, targets = scores(2)
    ours, theirs = softmax(logits), softmax(logits[::-1])
    behind = compare_with_baseline("words", theirs, ours, targets, resamples=50, seed=0)
    ahead = compare_with_baseline("words", ours, theirs, targets, resamples=50, seed=0)
    assert (ahead.name, ahead.loses, behind.loses) == ("words", False, True)
    assert ahead.lead == summarise(ours, targets)["macro_f1"] - ahead.macro_f1
    assert ahead.lead == -behind.lead > 0
    assert ahead.lead_95[0] <= ahead.lead <= ahead.lead_95[1]
