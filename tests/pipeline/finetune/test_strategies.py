from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.errors import GraftError
from pipeline.finetune.loop import train
from pipeline.finetune.plan import Plan
from pipeline.finetune.strategies.head_only import HeadOnly
from pipeline.finetune.strategies.registry import STRATEGIES, strategy_named
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Classifier, ParameterGroup
from pipeline.recipe.sections import Finetune
from tests.pipeline.finetune.test_loop import PLAN, prepared


def test_every_mode_of_a_recipe_has_a_strategy() -> None:
    assert set(STRATEGIES) == set(get_args(Finetune.model_fields["mode"].annotation))
    with pytest.raises(GraftError, match=r"finetune\.mode: is 'lora'; known are features, full"):
        strategy_named("lora")


def test_head_only_leaves_the_start_as_it_is_however_many_epochs_are_planned() -> None:
    start = prepared()
    before = hash_tensors(start.classifier.saved().state_dict())
    outcome = train(start, PLAN, HeadOnly())
    assert (outcome.best_epoch, len(outcome.epochs)) == (0, 1)
    assert hash_tensors(outcome.state) == before


@dataclass(frozen=True)
class Thawing:
    """A strategy that no file outside this one knows: the head alone in the first epoch, then everything."""

    head_samples: int | None = None
    penalties: Sequence[float] = (0.1,)

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        return [{"params": list(classifier.saved().parameters()), "lr": plan.learning_rate}]

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        module = classifier.saved().train()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(epoch > 1 or name.startswith("head."))


def test_train_carries_out_a_strategy_that_it_does_not_know() -> None:
    start = prepared()
    before = {name: value.clone() for name, value in start.classifier.saved().named_parameters()}
    train(start, replace(PLAN, epochs=1, warmup=0.0), Thawing())
    after = dict(start.classifier.saved().named_parameters())
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}

    train(start, replace(PLAN, epochs=2, warmup=0.0), Thawing())
    body = [name for name in before if name.startswith("body.") and "bias" not in name]
    assert all(not np.array_equal(after[name].detach(), before[name].detach()) for name in body)
