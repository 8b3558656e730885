from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.start.heads import GENTLE, fit_heads


@pytest.mark.parametrize("classes", [2, 3])
def test_best_head_separates_what_is_separable(classes: int) -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(300) % classes
    features = (rng.normal(0, 1, (300, 8)) + 4 * np.eye(8)[targets]).astype(np.float32)
    head, _ = fit_heads((features[:200], targets[:200]), (features[200:], targets[200:]))
    logits = head.logits(features[200:])
    assert head.weight.shape == (classes, 8)
    assert logits.dtype == np.float32
    assert (logits.argmax(axis=1) == targets[200:]).mean() > 0.95


def test_best_head_keeps_weights_small_when_a_feature_is_almost_never_active() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(300) % 2
    features = (rng.normal(0, 1, (300, 8)) + 3 * np.eye(8)[targets]).astype(np.float32)
    features[:, 7] = 0
    features[::97, 7] = 1e-4
    head, _ = fit_heads((features[:200], targets[:200]), (features[200:], targets[200:]))
    assert np.abs(head.weight[:, 7]).max() < np.abs(head.weight[:, 0]).max()


@pytest.mark.parametrize("validation", [20, 2000])
def test_penalty_is_heavy_where_features_say_nothing_and_light_where_they_say_all(validation: int) -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(200 + validation) % 2
    noise = rng.normal(0, 1, (len(targets), 40)).astype(np.float32)
    told = noise + 3 * np.eye(40, dtype=np.float32)[targets]

    def penalty(features: np.ndarray) -> float:
        best, gentle = fit_heads((features[:200], targets[:200]), (features[200:], targets[200:]))
        assert gentle.penalty == max(GENTLE, best.penalty)
        return best.penalty

    assert penalty(noise) >= GENTLE > penalty(told)
