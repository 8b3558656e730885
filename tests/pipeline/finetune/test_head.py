from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.head import train_head
from pipeline.finetune.stage import class_weights


@pytest.mark.parametrize("classes", [2, 3])
def test_train_head_separates_what_is_separable(classes: int) -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(300) % classes
    features = (rng.normal(0, 1, (300, 8)) + 4 * np.eye(8)[targets]).astype(np.float32)
    head = train_head((features[:200], targets[:200]), (features[200:], targets[200:]), balanced=False)
    logits = head.logits(features[200:])
    assert head.weight.shape == (classes, 8)
    assert logits.dtype == np.float32
    assert (logits.argmax(axis=1) == targets[200:]).mean() > 0.95


def test_train_head_keeps_weights_small_when_a_feature_is_almost_never_active() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(300) % 2
    features = (rng.normal(0, 1, (300, 8)) + 3 * np.eye(8)[targets]).astype(np.float32)
    features[:, 7] = 0
    features[::97, 7] = 1e-4
    head = train_head((features[:200], targets[:200]), (features[200:], targets[200:]), balanced=True)
    assert np.abs(head.weight[:, 7]).max() < np.abs(head.weight[:, 0]).max()


def test_class_weights_have_a_mean_of_one_over_the_samples() -> None:
    targets = np.array([0] * 75 + [1] * 25)
    weights = class_weights(targets, 2, "balanced")
    assert weights is not None
    assert weights[targets].mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("sizes", "choice", "weighted"),
    [
        ((60, 40), "auto", False),
        ((61, 40), "auto", True),
        ((90, 10), "none", False),
        ((50, 50), "balanced", True),
    ],
)
def test_class_weights_are_given_when_unbalanced_or_asked_for(
    sizes: tuple[int, int], choice: str, weighted: bool
) -> None:
    targets = np.repeat([0, 1], sizes)
    assert (class_weights(targets, 2, choice) is not None) is weighted
