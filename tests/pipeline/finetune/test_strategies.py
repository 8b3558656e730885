from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pipeline.errors import GraftError
from pipeline.finetune.course.loop import Outcome, train
from pipeline.finetune.keep.candidates import copy_state
from pipeline.finetune.plan import Plan, Rates
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.head_only import HeadOnly
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.modalities.tensors import hash_tensors
from pipeline.modalities.training import Classifier, ParameterGroup
from tests.pipeline.finetune.course.test_loop import PLAN, prepared


def test_strategy_named_refuses_what_it_does_not_know() -> None:
    with pytest.raises(GraftError, match=r"finetune\.mode: is 'magic'; known are features, full, lp-ft"):
        strategy_named("magic")


def test_head_only_leaves_the_start_as_it_is_however_many_epochs_are_planned() -> None:
    start = prepared()
    before = hash_tensors(start.classifier.saved().state_dict())
    outcome = train(start, PLAN, HeadOnly())
    assert (outcome.kept.epoch, len(outcome.epochs)) == (0, 1)
    assert hash_tensors(outcome.kept.state) == before


def test_full_starts_from_a_head_that_says_nothing_and_lp_ft_from_the_gentle_one() -> None:
    start = prepared()
    for head_first, weight in ((False, np.zeros((2, 4))), (True, start.gentle_head.weight)):
        classifier = prepared().classifier
        Full(head_first).begin(classifier, start, PLAN)
        assert np.array_equal(classifier.saved().get_classifier().weight.detach().numpy(), weight)


@dataclass(frozen=True)
class Thawing:
    """A strategy that no file outside this one knows: the head alone in the first epoch, then everything."""

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:
        """Leave the best head."""

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        return [{"params": list(classifier.saved().parameters()), "lr": plan.rates.learning_rate}]

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        module = classifier.saved().train()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(epoch > 1 or name.startswith("head."))

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        return copy_state(classifier.saved())


def test_train_carries_out_a_strategy_that_it_does_not_know() -> None:
    start = prepared()
    before = {name: value.clone() for name, value in start.classifier.saved().named_parameters()}

    def moved(outcome: Outcome) -> set[str]:
        return {name for name, value in before.items() if not torch.equal(value, outcome.kept.state[name])}

    rates = Rates(0.02, warmup=0.0)
    assert moved(train(start, replace(PLAN, epochs=1, rates=rates), Thawing())) == {
        "head.weight",
        "head.bias",
    }
    assert {name for name in before if "bias" not in name} <= moved(
        train(start, replace(PLAN, epochs=2, rates=rates), Thawing())
    )
    assert all(
        torch.equal(value, before[name]) for name, value in start.classifier.saved().named_parameters()
    )
