from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.start.counterparts import Tried, try_counterparts
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.finetune.drawings import Kind, drawn, features_of


def tried(pixels: np.ndarray, targets: np.ndarray, validation: int = 40) -> Tried:
    features, changed = features_of(pixels), features_of(pixels[:, :, ::-1])
    train = slice(validation, None)
    found = try_counterparts(
        (features[train], changed[train], targets[train]),
        (features[:validation], targets[:validation]),
        0.06,
        CLASSIFICATION,
    )
    assert found is not None
    return found


def doubt(found: Tried) -> str | None:
    return found.doubt("this", "pictures")


def test_arrows_to_either_side_are_caught_though_mirrored_copies_do_a_head_no_clear_harm() -> None:
    found = tried(*drawn(("left", "right"), 100))
    assert found.with_copies.low < 0 < found.with_copies.high
    assert "the way round alone tells" in str(doubt(found))
    assert found.harm()


def test_one_pair_of_sides_among_classes_that_have_none_is_caught() -> None:
    found = tried(*drawn(("left", "right", "bar", "ring"), 60))
    assert doubt(found) is not None
    assert found.preferred in (0, 1)


def test_shapes_that_look_alike_in_a_mirror_are_cleared() -> None:
    found = tried(*drawn(("bar", "ring"), 100))
    assert doubt(found) is None
    assert not found.harm()


def test_arrows_of_both_sides_in_each_class_are_cleared() -> None:
    kinds: tuple[Kind, ...] = ("left", "left", "right", "right", "bar", "bar")
    pixels, targets = drawn(kinds, 60)
    assert doubt(tried(pixels, np.array([0, 0, 0, 0, 1, 1])[targets])) is None


def test_digits_are_caught() -> None:
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    pixels = np.repeat(images[:400].reshape(-1, 8, 8, 1) * 255 / 16, 3, axis=3).astype(np.uint8)
    found = tried(pixels.repeat(6, axis=1).repeat(6, axis=2), targets[:400], validation=100)
    assert "the way round alone tells" in str(doubt(found))
    assert found.harm()


def test_few_samples_clear_nothing() -> None:
    pixels, targets = drawn(("bar", "ring"), 12)
    assert doubt(tried(pixels, targets, validation=8)) == "so few pictures cannot show that it is harmless"


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_one_sample_has_no_trial(count: int) -> None:
    targets = np.array([0] * 6 + [1] * count + [2] * 3)
    features = np.random.default_rng(0).normal(size=(len(targets), 4)).astype(np.float32)
    found = try_counterparts((features, -features, targets), (features, targets), 0.06, CLASSIFICATION)
    assert found is None
