from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timm.layers import BatchNormAct2d, EvoNorm2dB0, FrozenBatchNormAct2d
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan, Rates, few_for_statistics, plan_of
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.modes import has_running_statistics, keep_statistics_up, train_mode
from pipeline.machine.settings import Settings
from pipeline.modalities.image.recipe import ImageFinetune
from pipeline.modalities.image.training import training_options
from tests.families import prepared_of

WITH_STATISTICS = {
    "batch norm": lambda: nn.BatchNorm2d(4),
    "over processes": lambda: nn.SyncBatchNorm(4),
    "of single samples": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "timm's": lambda: BatchNormAct2d(4),
    "timm's with a variance only": lambda: EvoNorm2dB0(4),
    "frozen already": lambda: FrozenBatchNormAct2d(4),
}
WITHOUT = {
    "of single samples": lambda: nn.InstanceNorm2d(4),
    "of the batch alone": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "of groups": lambda: nn.GroupNorm(2, 4),
    "of layers": lambda: nn.LayerNorm(4),
}
CPU = Settings("cpu", "fp32", threads=1, why="test")


@pytest.mark.parametrize("kind", WITH_STATISTICS)
def test_frozen_statistics_stay_whatever_kind_of_layer_has_them(kind: str) -> None:
    layer = WITH_STATISTICS[kind]()
    train_mode(layer, freeze_batch_norm=True)
    before = {name: value.clone() for name, value in layer.named_buffers()}
    assert before
    layer(torch.randn(8, 4, 2, 2) * 5 + 3)
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    assert has_running_statistics(layer)
    train_mode(layer, freeze_batch_norm=False)
    assert layer.training


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_has_no_statistics_trains_on(kind: str) -> None:
    layer = WITHOUT[kind]()
    train_mode(layer, freeze_batch_norm=True)
    assert layer.training
    assert not has_running_statistics(layer)


@pytest.mark.parametrize(
    ("samples", "batch", "epochs", "frozen"),
    [
        (36, 32, 40, True),  # one or two steps an epoch
        (5000, 8, 10, True),  # many steps, but a mean of eight samples
        (201, 16, 40, True),
        (10_000, 32, 6, False),
    ],
)
def test_statistics_are_frozen_where_steps_or_batches_are_few(
    samples: int, batch: int, epochs: int, frozen: bool
) -> None:
    assert few_for_statistics(samples, batch, epochs) is frozen
    section = ImageFinetune(batch_size=batch, epochs=epochs)
    plan = plan_of(section, training_options(section), CPU, seed=0, samples=samples)
    assert plan.freeze_batch_norm is frozen


def test_lora_freezes_statistics_and_is_refused_where_the_recipe_trains_them() -> None:
    section = ImageFinetune(mode="lora")
    plan = plan_of(section, training_options(section), CPU, seed=0, samples=100_000)
    assert plan.freeze_batch_norm
    section = ImageFinetune(mode="lora", batch_norm="train")
    with pytest.raises(GraftError, match=r"finetune\.batch_norm: train does not go with mode: lora"):
        plan_of(section, training_options(section), CPU, seed=0, samples=100)


@pytest.mark.parametrize(
    ("momentum", "steps", "expected"),
    [(0.0003, 200, 0.05), (0.01, 5000, 0.01), (0.1, 200, 0.1), (None, 200, 0.05), (0.1, 4, 1.0)],
)
def test_statistics_look_back_over_the_last_tenth_of_the_steps_at_most(
    momentum: float | None, steps: int, expected: float
) -> None:
    layer = nn.BatchNorm2d(2, momentum=momentum)
    keep_statistics_up(layer, steps)
    assert layer.momentum == pytest.approx(expected)


def test_statistics_that_average_over_long_are_those_of_the_data_when_a_short_training_ends() -> None:
    start = prepared_of("test_resnet")
    for part in start.classifier.saved().modules():
        if has_running_statistics(part):
            part.momentum = 0.0003
    plan = Plan(epochs=10, batch_size=12, rates=Rates(1e-6, warmup=0.0))
    training = Training(start, replace(plan, freeze_batch_norm=False), Full(head_first=True))
    for epoch in range(1, plan.epochs + 1):
        training.run_epoch(epoch)
        training.end_epoch()
    first = next(part for part in training.classifier.saved().modules() if isinstance(part, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    training.compute_validation_logits()
    assert torch.allclose(first.running_mean, seen[0].mean((0, 2, 3)), atol=0.05)
