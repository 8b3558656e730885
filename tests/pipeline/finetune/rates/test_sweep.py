from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import GraftError
from pipeline.finetune.course.loop import train
from pipeline.finetune.plan import Keeping, Rates
from pipeline.finetune.rates.plot import plot_sweep
from pipeline.finetune.rates.sweep import (
    HIGHEST,
    LOWEST,
    STEPS,
    Sweep,
    longest_fall,
    smoothed_last,
    suggest,
    sweep,
)
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.head_only import HeadOnly
from pipeline.modalities.tensors import hash_tensors
from tests.chance import global_chance
from tests.pipeline.finetune.course.test_loop import PLAN, prepared

FULL = Full(head_first=True)


@pytest.fixture(scope="module")
def found() -> Sweep:
    return sweep(prepared(), PLAN, FULL)


def test_sweep_leaves_no_trace_in_the_training_after_it() -> None:
    def trained(start: Prepared, *, find: bool) -> str:
        torch.manual_seed(3)
        if find:
            sweep(start, PLAN, FULL)
        return hash_tensors(train(start, PLAN, FULL).kept.state)

    start = prepared()
    before = hash_tensors(start.classifier.saved().state_dict())
    with global_chance() as is_as_before:
        sweep(start, PLAN, FULL)
        assert is_as_before()
    assert trained(start, find=True) == trained(prepared(), find=False) == trained(start, find=False)
    assert hash_tensors(start.classifier.saved().state_dict()) == before


def test_sweep_goes_up_by_equal_factors_and_stops_where_the_loss_diverges(found: Sweep) -> None:
    ratios = np.array(found.rates[1:]) / np.array(found.rates[:-1])
    assert found.rates[0] == pytest.approx(LOWEST)
    assert ratios == pytest.approx((HIGHEST / LOWEST) ** (1 / (STEPS - 1)))
    assert len(found.losses) == len(found.smoothed) == len(found.rates) <= STEPS
    assert found.suggested is not None
    assert found.suggested in found.rates
    assert found.steepest in found.rates


def test_sweep_gives_the_same_again_and_keeps_no_average_of_the_weights(found: Sweep) -> None:
    again = replace(PLAN, keeping=Keeping(ema=True, soup=3))
    assert sweep(prepared(), again, FULL) == found


def test_a_training_at_the_suggested_rate_learns(found: Sweep) -> None:
    assert found.suggested is not None
    outcome = train(prepared(), replace(PLAN, rates=Rates(found.suggested), epochs=10), FULL)
    assert outcome.kept.judged.accuracy > 0.9


def test_sweep_takes_fewer_samples_than_a_batch() -> None:
    found = sweep(prepared(samples=6), replace(PLAN, batch_size=64), FULL)
    assert len(found.losses) > 10


def test_sweep_says_so_where_nothing_trains_or_no_rate_can_be_right() -> None:
    with pytest.raises(GraftError, match=r"finetune\.mode: features trains no layer"):
        sweep(prepared(), PLAN, HeadOnly())
    broken = prepared()
    broken.gentle_head.weight[:] = np.nan
    with pytest.raises(GraftError, match=r"not a number even at a learning rate of 1e-07"):
        sweep(broken, PLAN, FULL)


@given(st.lists(st.integers(0, 9), max_size=9).map(lambda values: [float(value) for value in values]))
def test_longest_fall_is_the_longest_of_all(values: list[float]) -> None:
    fall = longest_fall(values) if values else []
    lengths = {0: 0}
    for mask in range(1, 2 ** len(values)):
        chosen = [value for index, value in enumerate(values) if mask >> index & 1]
        if all(a > b for a, b in pairwise(chosen)):
            lengths[mask] = len(chosen)
    assert len(fall) == max(lengths.values())
    assert fall == sorted(fall)
    assert all(values[a] > values[b] for a, b in pairwise(fall))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_smoothing_is_a_weighted_mean_of_the_losses_so_far(losses: list[float]) -> None:
    smoothed: list[float] = []
    for count in range(1, len(losses) + 1):
        smoothed.append(smoothed_last(losses[:count], smoothed))
    weights = 0.98 ** np.arange(len(losses))[::-1]
    assert smoothed[-1] == pytest.approx(float(np.average(losses, weights=weights)), abs=1e-9)


def test_suggest_finds_the_valley_and_its_steepest_fall() -> None:
    rates = np.geomspace(1e-7, 10, 100)
    position = np.log10(rates)
    # Level up to 1e-4, down to 1e-1 and steepest at 1e-2.5, then up.
    fall = 1 / (1 + np.exp(4 * (position + 2.5)))
    smoothed = 0.5 + fall + np.where(position > -1, (position + 1) ** 2, 0)
    suggested, steepest = suggest(rates.tolist(), smoothed.tolist())
    assert suggested is not None
    assert steepest is not None
    assert steepest == pytest.approx(10**-2.5, rel=0.2)
    assert 1e-5 < suggested < 1e-2
    # What the first few batches happen to be is no fall.
    start = smoothed.copy()
    start[:10] += np.linspace(3, 0, 10)
    assert suggest(rates.tolist(), start.tolist()) == (suggested, steepest)
    assert suggest(rates.tolist(), np.linspace(1, 2, 100).tolist()) == (None, None)
    assert suggest(rates.tolist(), np.linspace(1, 0.995, 100).tolist()) == (None, None)


def test_plot_sweep_is_a_picture_with_and_without_a_suggestion(found: Sweep) -> None:
    for shown in (found, replace(found, suggested=None, steepest=None)):
        assert plot_sweep(shown, "Learning rate of cats (lp-ft)", 1e-3).startswith(b"\x89PNG")
