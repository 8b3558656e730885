"""Random weights, and how much of a training fits into the time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.transfer.scratch import EPOCHS, _fitting, _limited
from tests.families import CLASSES, SAMPLES, prepared_of


def test_fitting_plans_whole_epochs_where_they_fit_and_fewer_samples_where_none_does() -> None:
    prepared = prepared_of("test_resnet")
    whole = len(prepared.train) + 2 / 3 * len(prepared.validation)
    assert _fitting(10 * whole, prepared, 1.0).epochs == 8  # nine fit into nine tenths of the time
    assert _fitting(1e9, prepared, 10.0).epochs == EPOCHS[-1]
    tight = _fitting(whole, prepared, 1.0)
    assert tight.epochs == 1
    assert 2 * CLASSES <= tight.samples < SAMPLES
    assert _fitting(1e-6, prepared, 1.0).samples == 2 * CLASSES


def test_limited_keeps_every_class() -> None:
    prepared = prepared_of("test_resnet")
    few = _limited(prepared, replace(_fitting(1e-6, prepared, 1.0), samples=4))
    assert set(few.train.targets) == set(range(CLASSES))
    assert len(few.train) < SAMPLES
    assert np.array_equal(few.train.examples[0], prepared.train.examples[0])
