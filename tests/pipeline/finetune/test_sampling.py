from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.steps.batches import balanced

classes = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(classes, st.integers(0, 2**31))
def test_balanced_draws_every_class_equally_often_in_an_epoch_of_the_usual_length(
    targets: np.ndarray, seed: int
) -> None:
    drawn = balanced(targets, generator(seed))
    assert len(drawn) == len(targets)
    counts = np.bincount(targets[drawn], minlength=5)[np.unique(targets)]
    assert counts.max() - counts.min() <= 1
    times = np.bincount(drawn, minlength=len(targets))
    for label in np.unique(targets):
        of_class = times[targets == label]
        assert of_class.max() - of_class.min() <= 1, "each passes in full before the next"


def test_balanced_reaches_every_sample_in_time_and_repeats_itself_by_the_seed() -> None:
    targets = np.array([0] * 90 + [1] * 10)
    source = generator(0)
    epochs = [balanced(targets, source) for _ in range(12)]
    assert set(np.concatenate(epochs)) == set(range(100))
    assert np.array_equal(epochs[0], balanced(targets, generator(0)))
    assert not np.array_equal(epochs[0], epochs[1])
