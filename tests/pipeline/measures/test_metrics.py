from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from pipeline.errors import GateFailedError
from pipeline.evaluate.gate import require_metrics
from pipeline.measures.calibration import softmax
from pipeline.measures.metrics import _summarise_fast, bootstrap, measure, summarise


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
    assert metrics["accuracy"] == (logits.argmax(1) == targets).mean()
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, logits.argmax(1), average="macro"))
    reference = roc_auc_score(
        targets, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr"
    )
    assert metrics["auroc"] == pytest.approx(reference)
    assert sum(map(sum, metrics["confusion_matrix"]["counts"])) == len(targets)
    assert metrics["per_class"]["c0"]["support"] == int((targets == 0).sum())
    json.dumps(metrics, allow_nan=False)


def test_intervals_hold_the_estimate_and_narrow_with_more_samples() -> None:
    widths = []
    for count in (100, 1600):
        logits, targets = scores(2, count)
        metrics = measure(logits, targets, ["a", "b"], 1.0, resamples=300, seed=0)
        for name in ("accuracy", "macro_f1", "auroc"):
            low, high = metrics["intervals_95"][name]
            assert low <= metrics[name] <= high
        widths.append(metrics["intervals_95"]["accuracy"][1] - metrics["intervals_95"]["accuracy"][0])
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
    assert all(np.isfinite(bounds).all() for bounds in intervals.values())


def test_measure_counts_a_class_that_is_never_predicted() -> None:
    logits = np.array([[2.0, 1.0, 0.0]] * 20, np.float32)
    metrics = measure(logits, np.arange(20) % 3, ["a", "b", "c"], 1.0, resamples=100, seed=0)
    assert metrics["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 6}


def test_require_metrics_lists_all_that_is_missed() -> None:
    metrics = {"accuracy": 0.8, "auroc": 0.9, "macro_f1": 0.7}
    require_metrics(metrics, {"accuracy": 0.8, "auroc": 0.5}, Path("report.html"))
    with pytest.raises(
        GateFailedError, match=r"accuracy is 0.8000, required 0.81; macro_f1 is 0.7000, required 0.9"
    ):
        require_metrics(metrics, {"accuracy": 0.81, "auroc": 0.9, "macro_f1": 0.9}, Path("report.html"))
