from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, EvoNorm2dB0
from torch import nn

from pipeline.finetune.course.loop import train
from pipeline.finetune.keep.candidates import Candidate, copy_state
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.keep.soup import Kitchen, cook, mix
from pipeline.finetune.plan import Keeping, Rates
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.image.network import ImageClassifier
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from tests.pipeline.finetune.course.test_loop import HALF, PLAN, prepared

FROZEN = replace(PLAN, freeze_batch_norm=True)
START = prepared()


def noisy(number: int, spread: float) -> Candidate:
    """The best head with random weights added, as an epoch."""
    generator = torch.Generator().manual_seed(number)
    state = {
        name: value + spread * torch.randn(value.shape, generator=generator).abs()
        if value.is_floating_point()
        else value
        for name, value in START.floor.state.items()
    }
    return Kitchen(START, FROZEN).judge(f"epoch {number}", number, state)


@given(st.floats(0, 1, width=32), st.floats(-5, 5, width=32), st.floats(-5, 5, width=32))
def test_mix_is_the_weighted_mean_and_leaves_counters_alone(
    share: float, first: float, second: float
) -> None:
    counter = torch.tensor(7)
    states = [{"weight": torch.tensor([value]), "counter": counter} for value in (first, second)]
    mixed = mix(*states, share)
    assert mixed["weight"].item() == pytest.approx((1 - share) * first + share * second, abs=1e-5)
    assert mixed["counter"] is counter


@pytest.mark.parametrize("spread", [0.01, 0.3, 2.0])
def test_cook_is_never_worse_than_the_best_ingredient_or_the_best_head(spread: float) -> None:
    epochs = [noisy(number, spread) for number in range(1, 5)]
    best = cook(START, FROZEN, epochs)
    assert best.judged.loss <= min(one.judged.loss for one in (*epochs, START.floor))
    classifier = copy.deepcopy(START.classifier)
    classifier.saved().load_state_dict(best.state)
    logits = compute_logits(classifier, START.validation.examples, "cpu", "again", "pictures")
    assert np.allclose(logits, best.logits, atol=1e-6)
    assert best.judged.loss == judge(START.task, best.logits, START.validation.targets).loss


def test_cook_averages_what_is_better_together_and_names_it() -> None:
    """Two epochs that err to opposite sides: their mean is the trained head, which is better than both."""
    trained = train(START, replace(FROZEN, epochs=6), Full(head_first=True)).kept
    error = {name: torch.randn_like(value) * 2 for name, value in trained.state.items() if value.dim() > 1}
    epochs = []
    for number, sign in ((3, 1), (5, -1)):
        state = {name: value + sign * error.get(name, 0) for name, value in trained.state.items()}
        epochs.append(Kitchen(START, FROZEN).judge(f"epoch {number}", number, state))
    best = cook(START, FROZEN, epochs)
    assert best.name.startswith("the average of epochs 3 and 5")
    assert best.judged.loss <= trained.judged.loss * 1.01


def test_cook_mixes_with_the_frozen_head_where_the_way_between_is_better() -> None:
    """The head prefers one class by so much as the training the other: half of the way is right."""
    good = train(START, replace(FROZEN, epochs=6), Full(head_first=True)).kept

    def leaning(name: str, epoch: int, lean: float) -> Candidate:
        bias = good.state["head.bias"] + torch.tensor([lean, -lean])
        return Kitchen(START, FROZEN).judge(name, epoch, {**good.state, "head.bias": bias})

    start = replace(START, floor=leaning("the best head", 0, 3.0))
    best = cook(start, FROZEN, [leaning("epoch 6", 6, -3.0)])
    assert best.name == "epoch 6, mixed with 50 % of the frozen backbone"
    assert best.judged.loss == pytest.approx(good.judged.loss, rel=1e-3)


def test_cook_leaves_the_best_head_where_nothing_trained() -> None:
    assert cook(START, FROZEN, []) is START.floor


def test_averaged_weights_get_batch_statistics_of_their_own() -> None:
    state = {**START.floor.state, "body.1.running_mean": torch.ones(4)}
    kitchen = Kitchen(START, PLAN)
    judged = kitchen.judge("the average", 1, state)
    assert not torch.equal(judged.state["body.1.running_mean"], state["body.1.running_mean"])
    images = START.train.examples.batch(np.arange(len(START.train)), "cpu")["image"]
    with torch.no_grad():
        activations = kitchen.classifier.network.body[0](kitchen.classifier._input(images))
    exact = activations.mean(dim=(0, 2, 3))
    assert torch.allclose(judged.state["body.1.running_mean"], exact, atol=1e-4)
    assert all(part.momentum == 0.1 for part in kitchen.classifier.network.body if hasattr(part, "momentum"))


def test_statistics_that_training_left_alone_stay_and_norms_of_other_kinds_keep_their_average() -> None:
    assert Kitchen(START, PLAN).judge("the average", 1, START.floor.state).state is START.floor.state

    network = nn.Sequential(EvoNorm2dB0(3), BatchNormAct2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.add_module("head", nn.Linear(3, 2))
    start = replace(START, classifier=ImageClassifier(network, HALF))
    start = replace(start, floor=replace(START.floor, state=copy_state(network)))
    state = {name: value + 1 for name, value in start.floor.state.items()}
    judged = Kitchen(start, PLAN).judge("the average", 1, state).state
    assert torch.equal(judged["0.running_var"], state["0.running_var"])
    assert not torch.allclose(judged["1.running_var"], state["1.running_var"])
    assert not torch.allclose(judged["1.running_var"], start.floor.state["1.running_var"])


def test_train_cooks_a_soup_that_is_as_good_as_its_best_epoch(caplog: pytest.LogCaptureFixture) -> None:
    plan = replace(PLAN, rates=Rates(0.05), keeping=Keeping(soup=3))
    with caplog.at_level(logging.INFO, logger="graft"):
        outcome = train(START, plan, Full(head_first=True))
    assert outcome.kept.judged.loss <= min(epoch.validation_loss for epoch in outcome.epochs)
    assert f"soup: {outcome.kept.name}" in caplog.text
    again = train(START, plan, Full(head_first=True))
    assert hash_tensors(outcome.kept.state) == hash_tensors(again.kept.state)
