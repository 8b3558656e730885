from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.plan import Plan, Rates
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.gradual import Gradual, open_groups
from tests.families import prepared_of
from tests.kinds.rows.training import RowClassifier
from tests.pipeline.finetune.course.test_loop import PLAN as SMALL_PLAN
from tests.pipeline.finetune.course.test_loop import prepared as small_prepared

PLAN = Plan(epochs=6, batch_size=8, rates=Rates(3e-3, layer_decay=0.9, warmup=0.0))


@pytest.mark.parametrize(
    ("groups", "epochs", "opened"),
    [
        (3, 6, [1, 2, 3, 3, 3, 3]),
        (17, 4, [9, 17, 17, 17]),  # few epochs, many groups: several at once
        (2, 8, [1, 1, 2, 2, 2, 2, 2, 2]),  # many epochs, few groups: each stays alone for a while
        (5, 1, [5]),
    ],
)
def test_open_groups_opens_all_by_the_middle_of_the_training(
    groups: int, epochs: int, opened: list[int]
) -> None:
    assert [open_groups(groups, epochs, epoch) for epoch in range(1, epochs + 1)] == opened


@pytest.mark.parametrize("family", ["bert", "test_resnet"])
def test_what_is_closed_has_no_gradients_no_chance_and_keeps_its_weights_and_statistics(family: str) -> None:
    training = Training(prepared_of(family), PLAN, Gradual())
    module = training.classifier.saved()
    depths = training.classifier.depths([name for name, _ in module.named_parameters()])
    top = max(depths.values())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training.run_epoch(1)

    closed = {name for name, depth in depths.items() if depth < top - open_groups(top, PLAN.epochs, 1)}
    assert closed
    parameters = dict(module.named_parameters())
    moved = {name for name, value in parameters.items() if not torch.equal(value, before[name])}
    assert moved == parameters.keys() - closed
    assert all(
        parameters[name].grad is None and parameters[name] not in training.optimizer.state for name in closed
    )
    resting = {name.rpartition(".")[0] for name in closed} - {name.rpartition(".")[0] for name in moved}
    assert not any(module.get_submodule(name).training for name in resting)
    for name, value in module.named_buffers():
        if name.endswith("running_mean"):
            assert torch.equal(value, before[name]) == (name.replace("running_mean", "weight") in closed)


def test_dropout_before_the_head_and_in_open_layers_works_and_in_closed_ones_rests() -> None:
    training = Training(prepared_of("bert"), PLAN, Gradual())
    Gradual().start_epoch(training.classifier, PLAN, 1)
    module = training.classifier.saved()
    assert module.dropout.training
    assert module.encoder.encoder.layer[2].output.dropout.training
    assert not module.encoder.encoder.layer[0].output.dropout.training
    assert not module.encoder.embeddings.dropout.training


def test_what_is_open_follows_from_the_number_of_the_epoch_alone() -> None:
    def trainable(epochs: list[int]) -> list[bool]:
        training = Training(prepared_of("gpt2"), PLAN, Gradual())
        for epoch in epochs:
            Gradual().start_epoch(training.classifier, PLAN, epoch)
        return [parameter.requires_grad for parameter in training.classifier.saved().parameters()]

    assert trainable([1, 2]) == trainable([2]) != trainable([3])
    assert all(trainable([3]))


def test_gradual_is_refused_where_there_is_nothing_to_open_one_after_the_other() -> None:
    start = small_prepared()
    start.classifier.network.body[1] = nn.Identity()  # which leaves one convolution below the head
    with pytest.raises(GraftError, match=r"finetune\.mode: gradual .* has only one\. Use lp-ft"):
        Training(start, SMALL_PLAN, Gradual())
    start = replace(small_prepared(), classifier=RowClassifier(4, 4, 2))
    with pytest.raises(GraftError, match=r"gradual needs the layers .* RowClassifier does not declare"):
        Training(start, SMALL_PLAN, Gradual())
