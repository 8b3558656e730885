from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

from pipeline.measures.intervals import proportion_interval
from pipeline.measures.metrics import (
    measure,
    measure_answers,
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
def test_summarise_equals_scikit_learn_when_probabilities_tie(classes: int) -> None:
    logits, targets = scores(classes, 60 + 5 * classes)
    targets[:classes] = np.arange(classes)
    probabilities = np.round(softmax(logits), 2)
    figures = summarise(probabilities, targets)
    macro = precision_recall_fscore_support(
        targets, probabilities.argmax(1), labels=np.arange(classes), average="macro", zero_division=0
    )
    assert (figures["macro_precision"], figures["macro_recall"], figures["macro_f1"]) == pytest.approx(
        macro[:3], abs=1e-12
    )
    columns = [1] if classes == 2 else range(classes)
    areas = [roc_auc_score(targets == c, probabilities[:, c]) for c in columns]
    assert figures["auroc"] == pytest.approx(np.mean(areas), abs=1e-12)


def test_summarise_takes_the_mean_over_the_labels_present_when_some_have_no_sample() -> None:
    logits, targets = scores(5)
    keep = np.isin(targets, (1, 3))
    figures = summarise(softmax(logits[keep]), targets[keep])
    macro = precision_recall_fscore_support(
        targets[keep], logits[keep].argmax(1), labels=[1, 3], average="macro", zero_division=0
    )
    assert figures["macro_f1"] == pytest.approx(macro[2])
    assert figures["macro_recall"] == pytest.approx(macro[1])
    areas = [roc_auc_score(targets[keep] == c, softmax(logits[keep])[:, c]) for c in (1, 3)]
    assert figures["auroc"] == pytest.approx(np.mean(areas))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 6), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 40.0]))
def test_measure_answers_is_finite_and_holds_each_figure_when_labels_are_absent(
    classes: int, count: int, seed: int, skill: float
) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, rng.integers(1, classes + 1), count)
    probabilities = softmax(rng.normal(0, 1, (count, classes)) + skill * np.eye(classes)[targets])
    labels = [f"c{i}" for i in range(classes)]
    score = measure_answers(probabilities, targets, labels, resamples=100, seed=0)
    json.dumps(score.model_dump(mode="json"), allow_nan=False)
    for name in Figures.model_fields:
        low, high = getattr(score.intervals_95, name)
        assert 0 <= low <= getattr(score, name) <= high <= 1
        assert high - low > 0.02, f"{name} claims certainty from {count} samples"
    for row in score.per_class.values():
        assert row.precision_95[0] <= row.precision <= row.precision_95[1]
        assert row.recall_95[0] <= row.recall <= row.recall_95[1]
    assert score.absent() == [labels[c] for c in range(classes) if c not in targets]


def test_measure_answers_does_not_rank_when_one_label_alone_is_present() -> None:
    score = measure_answers(np.array([[0.9, 0.1]]), np.array([0]), ["a", "b"], resamples=100, seed=0)
    assert (score.auroc, score.intervals_95.auroc) == (0.5, (0.0, 1.0))
    assert (score.accuracy, score.macro_f1, score.absent()) == (1.0, 1.0, ["b"])
    assert score.per_class["b"].support == 0
    assert score.per_class["b"].recall_95 == (0.0, 1.0)
    assert score.guessing.verdict == "too_few_samples"


def test_measure_counts_a_class_that_is_never_predicted() -> None:
    logits = np.array([[2.0, 1.0, 0.0]] * 20, np.float32)
    metrics = measure(logits, np.arange(20) % 3, ["a", "b", "c"], 1.0, resamples=100, seed=0)
    assert metrics.per_class["c"] == ClassMetrics(
        precision=0.0,
        precision_95=(0.0, 1.0),
        recall=0.0,
        recall_95=proportion_interval(0, 6),
        f1=0.0,
        support=6,
    )


@pytest.mark.parametrize("classes", [2, 3, 21])
def test_paired_differences_are_nothing_between_a_model_and_itself(classes: int) -> None:
    logits, targets = scores(classes, 40 * classes)
    probabilities = softmax(logits)
    differences = paired_differences(probabilities, probabilities, targets, resamples=20, seed=0)
    assert set(differences) == set(Figures.model_fields) - ({"auroc"} if classes > 20 else set())
    assert all(found == {"value": 0.0, "interval_95": [0.0, 0.0]} for found in differences.values())
