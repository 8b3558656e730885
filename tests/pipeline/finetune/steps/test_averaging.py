from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.finetune.course.loop import train
from pipeline.finetune.plan import Keeping, Plan, Rates
from pipeline.finetune.steps.averaging import WeightAverage, decay_at
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from tests.families import builder_of, prepared_of
from tests.pipeline.finetune.course.test_loop import PLAN, prepared

AVERAGED = replace(PLAN, keeping=Keeping(ema=True))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_decay_at_looks_back_over_a_tenth_of_the_steps_so_far_and_of_all_at_most(
    step: int, steps: int
) -> None:
    decay = decay_at(step, steps)
    assert 0 <= decay < 1
    assert 1 / (1 - decay) == pytest.approx(max(1, min(step, steps) / 10))
    assert decay <= decay_at(step + 1, steps)


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60).map(lambda w: np.array(w, np.float32)),
    st.integers(1, 60),
)
def test_average_is_the_weighted_mean_of_all_weights_so_far(weights: np.ndarray, steps: int) -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, list(module.parameters()), steps)
    for weight in weights:
        module.weight.data.fill_(float(weight))
        average.update()
    # Every step's weight in the sum: what it brings in, times what every later step leaves.
    decays = np.array([decay_at(step, steps) for step in range(1, len(weights) + 1)])
    shares = (1 - decays) * np.append(np.cumprod(decays[::-1])[-2::-1], 1.0)
    assert shares.sum() == pytest.approx(1)
    assert average.average["weight"].item() == pytest.approx(float(shares @ weights), abs=1e-4)


def test_applied_puts_the_average_in_place_and_the_weights_back_bit_by_bit() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    average = WeightAverage(module, list(module.parameters()), 1000)
    for step in range(30):
        with torch.no_grad():
            module[0].weight += step
            module[1].running_mean += step
        average.update()
    before = hash_tensors(module.state_dict())
    mean = average.average["1.running_mean"].clone()
    with average.applied():
        assert torch.equal(module[1].running_mean, mean)
        assert hash_tensors(module.state_dict()) != before
    assert hash_tensors(module.state_dict()) == before
    assert torch.equal(average.average["1.running_mean"], mean)


def test_average_holds_nothing_of_what_does_not_train() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2), nn.BatchNorm1d(2))
    average = WeightAverage(module, list(module[1].parameters()), 10)
    assert set(average.average) == {"1.weight", "1.bias", "2.running_mean", "2.running_var"}


def test_training_goes_on_from_a_stored_average_as_if_nothing_had_been() -> None:
    plan = replace(AVERAGED, rates=Rates(0.02, schedule="constant"))
    whole = Training(prepared(), plan, Full(head_first=True))
    halves = Training(prepared(), plan, Full(head_first=True))
    for training in (whole, halves):
        training.run_epoch(1)
        training.end_epoch()
    assert whole.average is not None
    assert halves.average is not None
    stored = halves.average.state()
    halves.average = WeightAverage(halves.classifier.saved(), halves.trained, halves.average.steps)
    halves.average.restore(stored)
    for training in (whole, halves):
        training.run_epoch(2)
    assert halves.average.taken == whole.average.taken == 16
    assert hash_tensors(halves.average.average) == hash_tensors(whole.average.average)


def test_train_judges_and_keeps_the_average_and_trains_as_if_there_were_none() -> None:
    start = prepared()
    plain, averaged = (train(start, plan, Full(head_first=True)) for plan in (PLAN, AVERAGED))
    losses = [[epoch.train_loss for epoch in outcome.epochs] for outcome in (plain, averaged)]
    assert losses[0] == losses[1]
    assert hash_tensors(plain.kept.state) != hash_tensors(averaged.kept.state)
    start.classifier.saved().load_state_dict(averaged.kept.state)
    logits = compute_logits(start.classifier, start.validation.examples, "cpu", "again", "pictures")
    assert np.allclose(logits, averaged.kept.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "mode"), [("test_resnet", "full"), ("test_vit", "lora"), ("bert", "gradual"), ("gpt2", "lora")]
)
def test_average_is_of_all_that_trains_whatever_the_strategy(family: str, mode: str) -> None:
    plan = Plan(epochs=2, batch_size=4, rates=Rates(3e-3, warmup=0.0), keeping=Keeping(ema=True))
    training = Training(prepared_of(family), plan, strategy_named(mode))
    assert training.average is not None
    module, chosen = training.classifier.saved(), {id(value) for value in training.trained}
    trained = {name for name, value in module.named_parameters() if id(value) in chosen}
    assert trained <= set(training.average.average)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in trained}
    steps = itertools.islice(training.losses(), 6)
    for _ in steps:
        for name, value in module.named_parameters():
            if name in seen:
                seen[name].append(value.detach().clone())
    # Ten steps or less are no horizon: the average is the last step's weights.
    assert all(torch.equal(training.average.average[name], values[-1]) for name, values in seen.items())
    training.average.taken = 1000
    training.average.steps = 1000
    before = {name: values[-1] for name, values in seen.items()}
    next(training.losses())
    with training.judged_weights():
        state = training.strategy.state(training.classifier)
        logits = training.compute_validation_logits()
    for name, value in module.named_parameters():
        if name in before:
            expected = 0.99 * before[name] + 0.01 * value.detach()
            assert torch.allclose(training.average.average[name], expected, atol=1e-6)
    rebuilt = builder_of(family)()
    rebuilt.saved().load_state_dict(state)
    examples = training.prepared.validation.examples
    again = compute_logits(rebuilt, examples, "cpu", "again", "samples")
    assert np.allclose(again, logits, atol=1e-5)
