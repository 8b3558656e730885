"""Heads of samples with probabilities and weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.files.samples import Sample
from pipeline.finetune.start.heads import fit_head, fit_heads
from pipeline.finetune.start.imbalance import Balance, inverse
from pipeline.finetune.start.prepared import Split
from pipeline.finetune.start.soft import soft_of, weights_of
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.finetune.course.test_loop import split


def cloud(count: int, classes: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    targets = rng.permutation(np.arange(count) % classes)
    return (rng.normal(0, 1, (count, 6)) + spread * np.eye(6)[targets]).astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 3])
def test_masses_of_certain_samples_give_the_head_of_their_labels(classes: int) -> None:
    features, targets = cloud(90, classes)
    plain = fit_head((features, targets), 0.05)
    soft = fit_head((features, targets), 0.05, np.eye(classes, dtype=np.float32)[targets])
    assert np.allclose(plain.weight, soft.weight, atol=2e-3)
    assert np.allclose(plain.bias, soft.bias, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_head_with_weights_of_classes_is_scikit_learns_balanced_one(classes: int) -> None:
    features, targets = cloud(120, classes, spread=1.0)
    kept = (targets > 0) | (np.arange(120) % 4 == 0)
    features, targets = features[kept], targets[kept]
    sizes = np.bincount(targets).astype(np.float64)
    weights = inverse(sizes)
    masses = Balance(tuple(sizes), "", weights, weights).masses_for_heads(targets, None)
    head = fit_head((features, targets), 0.05, masses)
    scale = 1 / features.std()
    model = LogisticRegression(C=1 / (0.05 * len(targets)), class_weight="balanced", tol=1e-8)
    model.fit(features * scale, targets)
    logits = model.decision_function(features * scale)
    if classes == 2:
        logits = np.column_stack([-logits, logits]) / 2
    assert np.allclose(head.logits(features), logits, atol=5e-3)


def test_weights_count_as_repeated_samples_do() -> None:
    features, targets = cloud(60, 3, spread=1.0)
    times = np.random.default_rng(0).integers(1, 4, 60)
    repeated = np.repeat(features, times, axis=0), np.repeat(targets, times)
    masses = np.eye(3, dtype=np.float32)[targets] * times[:, None].astype(np.float32)
    # Features are scaled by the spread of those that are given, which repeating changes.
    penalty = 0.05 * (repeated[0].std() / features.std()) ** 2
    expected = fit_head(repeated, 0.05)
    found = fit_head((features, targets), float(penalty), masses)
    assert np.allclose(expected.weight, found.weight, atol=5e-3)
    assert np.allclose(expected.bias, found.bias, atol=5e-3)


def test_head_of_probabilities_answers_with_them_where_features_say_nothing() -> None:
    features = np.random.default_rng(0).normal(0, 1, (400, 3)).astype(np.float32)
    masses = np.tile(np.array([0.2, 0.3, 0.5], np.float32), (400, 1))
    targets = np.full(400, 2)
    targets[:2] = 0, 1
    head = fit_head((features, targets), 0.4, masses)
    assert np.allclose(CLASSIFICATION.probabilities(head.logits(features)), masses, atol=0.01)


def test_fit_heads_has_every_class_when_one_has_weight_in_few_folds_only() -> None:
    features, targets = cloud(60, 3)
    masses = np.eye(3, dtype=np.float32)[targets]
    lightless = np.flatnonzero(targets == 2)[1:]
    masses[lightless] = 0
    head, _ = fit_heads((features, targets), (features, targets), masses)
    assert head.weight.shape == (3, 6)
    assert np.isfinite(head.weight).all()


def test_split_adds_up_the_masses_of_its_classes() -> None:
    examples = split(4, 0).examples
    targets, weights = np.array([0, 1, 1, 1]), np.array([1.0, 2.0, 0.5, 0.0], np.float32)
    soft = np.array([[0.75, 0.25], [0, 1], [0.5, 0.5], [0, 1]], np.float32)
    assert Split(examples, targets).masses(2) is None
    assert Split(examples, targets).sizes(3).tolist() == [1, 3, 0]
    assert Split(examples, targets, weights=weights).sizes(2).tolist() == [1, 2.5]
    assert Split(examples, targets, soft=soft).sizes(2).tolist() == [1.25, 2.75]
    assert Split(examples, targets, soft=soft, weights=weights).sizes(2).tolist() == [1.0, 2.5]


def test_soft_of_and_weights_of_samples_are_arrays_of_a_mean_weight_of_one() -> None:
    samples = [Sample("s", "a", "train", "0", None, None, (0.25, 0.75), weight) for weight in (1e300, 3e300)]
    assert soft_of(samples).tolist() == [[0.25, 0.75]] * 2  # type: ignore[union-attr]
    assert weights_of(samples).tolist() == [0.5, 1.5]  # type: ignore[union-attr]
    assert soft_of([Sample("s", "a", "train", "0")]) is None
    assert weights_of([Sample("s", "a", "train", "0")]) is None


def test_heads_fit_when_a_class_has_one_sample() -> None:
    features, targets = cloud(41, 2)
    targets[:] = 0
    targets[0] = 1
    weights = inverse(np.bincount(targets).astype(np.float64))
    for masses in (None, np.eye(2, dtype=np.float32)[targets] * weights):
        best, gentle = fit_heads((features, targets), (features, targets), masses)
        assert np.isfinite(best.weight).all()
        assert gentle.weight.shape == (2, 6)
