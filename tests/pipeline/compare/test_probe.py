"""The folds and the heads that are fitted without them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compare.probe import cross_fit, stratified_folds
from pipeline.errors import DataError
from pipeline.finetune.start.heads import PENALTIES


def test_folds_hold_each_sample_once_and_the_classes_shares() -> None:
    targets = np.array([0] * 40 + [1] * 20)
    folds = stratified_folds(targets, seed=3)
    assert sorted(np.concatenate([judged for _, judged in folds]).tolist()) == list(range(60))
    for fitted, judged in folds:
        assert not set(fitted) & set(judged)
        assert np.bincount(targets[judged]).tolist() == [4, 2]


def test_folds_are_the_same_for_a_seed_and_fewer_for_a_small_class() -> None:
    targets = np.array([0] * 30 + [1] * 3)
    first, second = stratified_folds(targets, 1), stratified_folds(targets, 1)
    assert len(first) == 3
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))
    assert any(
        not np.array_equal(a[1], b[1]) for a, b in zip(first, stratified_folds(targets, 2), strict=True)
    )


def test_folds_are_refused_where_a_class_has_one_sample() -> None:
    with pytest.raises(DataError, match="one training sample"):
        stratified_folds(np.array([0, 0, 0, 1]), 0)


def test_no_sample_is_answered_by_a_head_that_saw_it() -> None:
    # With more features than samples a head knows every sample it was fitted on; noise must stay at chance.
    rng = np.random.default_rng(0)
    targets = np.arange(120) % 2
    features = rng.normal(size=(120, 300)).astype(np.float32)
    crossed = cross_fit(features, targets, stratified_folds(targets, 0))
    assert 0.3 < (crossed.logits.argmax(axis=1) == targets).mean() < 0.7


def test_penalty_is_heavy_for_noise_and_light_for_what_is_plainly_told() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(200) % 2
    noise = rng.normal(size=(200, 40)).astype(np.float32)
    plain = (0.1 * noise + targets[:, None]).astype(np.float32)
    folds = stratified_folds(targets, 0)
    assert cross_fit(noise, targets, folds).penalty == PENALTIES[0]
    told = cross_fit(plain, targets, folds)
    assert told.penalty < PENALTIES[0] / 10
    assert (told.logits.argmax(axis=1) == targets).all()


def test_masses_reach_the_heads() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    targets = np.arange(60) % 2
    turned = np.eye(2, dtype=np.float32)[1 - targets]  # what counts is the other class throughout
    folds = stratified_folds(targets, 0)
    features[:, 0] += 3 * targets
    assert (cross_fit(features, targets, folds).logits.argmax(axis=1) == targets).mean() > 0.8
    assert (cross_fit(features, targets, folds, turned).logits.argmax(axis=1) == targets).mean() < 0.2
