from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.keep.selection import is_as_good, select
from pipeline.finetune.start.prepared import Prepared
from pipeline.modalities.tensors import hash_tensors
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.finetune.course.test_loop import PLAN, prepared

FROZEN = replace(PLAN, freeze_batch_norm=True)


def candidate(start: Prepared, name: str, strength: float, seed: int = 0) -> Candidate:
    """Weights of the frozen start that are shifted a little, with answers of some quality."""
    targets = start.validation.targets
    logits = np.random.default_rng(seed).normal(0, 1, (len(targets), 2)) + strength * np.eye(2)[targets]
    state = {key: value + 0.001 * strength for key, value in start.floor.state.items()}
    judged = judge(CLASSIFICATION, logits.astype(np.float32), targets)
    return Candidate(name, int(strength * 10), state, logits.astype(np.float32), judged)


def with_floor(strength: float) -> Prepared:
    start = prepared()
    return replace(start, floor=replace(candidate(start, "the best head", strength), epoch=0))


def test_end_is_kept_where_an_earlier_epoch_is_better_by_chance_only() -> None:
    start = with_floor(0.2)
    last = candidate(start, "epoch 4", 2.0)
    others = (candidate(start, "epoch 2", 2.0, seed) for seed in range(1, 50))
    best = next(other for other in others if 0.01 < last.judged.loss - other.judged.loss < 0.05)
    assert select(start, PLAN, last, best) is last


def test_earlier_epoch_is_kept_where_it_is_better_beyond_chance() -> None:
    start = with_floor(0.2)
    last, best = candidate(start, "epoch 4", 0.5), candidate(start, "epoch 2", 4.0)
    assert not is_as_good(last, [best])
    assert select(start, PLAN, last, best) is best


@pytest.mark.parametrize("plan", [PLAN, FROZEN])
@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0, 3.0])
def test_nothing_is_kept_that_validation_finds_worse_than_the_head(plan: object, strength: float) -> None:
    start = with_floor(1.5)
    last, best = candidate(start, "epoch 4", 0.9 * strength), candidate(start, "epoch 2", strength)
    kept = select(start, plan, last, best)
    assert kept.judged.loss <= start.floor.judged.loss
    if strength < 1:
        assert kept is start.floor


def test_mixture_with_the_frozen_backbone_is_between_both() -> None:
    # The start is right already, and the end is far off: what is kept is a mixture, or the start.
    start = prepared()
    state = {
        key: value - 3.0 * torch.ones_like(value) if value.ndim == 2 else value
        for key, value in start.floor.state.items()
    }
    bad = replace(candidate(start, "epoch 4", 0.0), state=state)
    kept = select(start, FROZEN, bad, bad)
    assert kept.judged.loss <= start.floor.judged.loss
    assert hash_tensors(kept.state) != hash_tensors(bad.state)
