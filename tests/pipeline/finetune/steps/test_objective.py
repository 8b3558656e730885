"""The loss of batches of a split: hard or soft, weighted, mixed."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from pipeline.finetune.plan import Objective, Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.objective import BatchLoss
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.tensors import hash_tensors
from tests.chance import global_chance
from tests.pipeline.finetune.course.test_loop import PLAN, fit, prepared

INDICES = np.array([0, 1, 2, 5, 9])


def batch_loss(start: Prepared, plan: Plan = PLAN, seed: int = 0) -> BatchLoss:
    start.classifier.saved().eval()  # in training mode each answer depends on the others of its batch
    return BatchLoss(start, start.classifier, plan, torch.Generator().manual_seed(seed))


def logits_of(start: Prepared) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)  # the pictures are mirrored as in the batch's loss
    return start.classifier(**start.train.examples.batch(INDICES, "cpu", generator))


def with_train(start: Prepared, **changes: object) -> Prepared:
    return replace(start, train=replace(start.train, **changes))


def test_loss_of_a_plain_batch_is_torchs_to_the_bit_and_has_the_weight_of_its_samples() -> None:
    start = replace(prepared(), class_weights=np.array([0.5, 1.5], np.float32))
    found, targets = batch_loss(start)(INDICES), torch.from_numpy(start.train.targets[INDICES])
    weights = torch.tensor([0.5, 1.5])
    expected = cross_entropy(logits_of(start), targets, weight=weights, label_smoothing=0.1)
    assert found.mean.item() == expected.item()
    assert found.weight.item() == weights[targets].sum().item()


def test_loss_aims_at_probabilities_and_counts_weights_when_samples_have_them() -> None:
    rng, start = np.random.default_rng(0), prepared()
    soft = rng.dirichlet([1, 1], len(start.train)).astype(np.float32)
    weights = rng.uniform(0, 2, len(start.train)).astype(np.float32)
    start = with_train(start, soft=soft, weights=weights)
    found = batch_loss(start)(INDICES)
    each = cross_entropy(
        logits_of(start), torch.from_numpy(soft[INDICES]), reduction="none", label_smoothing=0.1
    )
    expected = (each.detach().numpy() * weights[INDICES]).sum() / weights[INDICES].sum()
    assert found.mean.item() == pytest.approx(expected, rel=1e-5)
    assert found.weight.item() == pytest.approx(weights[INDICES].sum(), rel=1e-6)


def test_loss_of_weights_alone_is_that_of_the_labels_weighted() -> None:
    weights = np.linspace(0, 2, 64, dtype=np.float32)
    plain, weighted = prepared(), with_train(prepared(), weights=weights)
    targets = one_hot(torch.from_numpy(plain.train.targets[INDICES])).float()
    each = cross_entropy(logits_of(plain), targets, reduction="none", label_smoothing=0.1).detach().numpy()
    expected = (each * weights[INDICES]).sum() / weights[INDICES].sum()
    assert batch_loss(weighted)(INDICES).mean.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "mixing", [Objective(mixup=0.4), Objective(cutmix=1.0), Objective(0.1, 2.0, 0.4, 1.0)]
)
def test_mixed_training_repeats_itself_and_draws_from_its_generator_alone(mixing: Objective) -> None:
    hashes = [hash_tensors(fit(objective=mixing, epochs=1).kept.state) for _ in range(2)]
    start, plan = prepared(), replace(PLAN, objective=mixing)
    with global_chance() as untouched:
        losses = [batch_loss(start, plan, seed)(INDICES) for seed in (0, 1)]
        assert untouched()
    assert hashes[0] == hashes[1]
    assert losses[0].mean.item() != losses[1].mean.item()
    assert losses[0].weight.item() == pytest.approx(len(INDICES))


def test_mixed_and_balanced_training_goes_on_exactly_after_an_interruption() -> None:
    start = with_train(prepared(), weights=np.linspace(0.1, 2, 64, dtype=np.float32))
    plan = replace(PLAN, objective=Objective(0.1, 2.0, 0.4, 1.0), balanced_sampling=True, epochs=1)
    whole, broken, resumed = (Training(start, plan, Full(head_first=True)) for _ in range(3))
    whole.run_epoch(1)

    def stop() -> None:
        if len(broken.epoch_losses) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        broken.run_epoch(1, after_step=stop)
    resumed.restore(copy.deepcopy(broken.state()))
    resumed.run_epoch(1)
    hashes = [hash_tensors(each.classifier.saved().state_dict()) for each in (whole, resumed, broken)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_mixed_training_learns() -> None:
    outcome = fit(objective=Objective(mixup=0.4, cutmix=1.0))
    assert max(epoch.validation_accuracy for epoch in outcome.epochs[1:]) > 0.9


def test_loss_is_nothing_when_no_sample_of_a_batch_has_a_weight() -> None:
    start = with_train(prepared(), weights=np.zeros(64, np.float32))
    found = batch_loss(start)(INDICES)
    found.mean.backward()
    assert found.mean.item() == found.weight.item() == 0
