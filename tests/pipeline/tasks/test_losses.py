from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from pipeline.tasks.classification import CLASSIFICATION

cases = st.tuples(st.integers(1, 9), st.integers(2, 5), st.integers(0, 2**31))
shares = st.floats(0, 0.9)


def draw(case: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, class indices, soft targets and class weights."""
    samples, classes, seed = case
    rng = np.random.default_rng(seed)
    soft = rng.dirichlet(np.ones(classes), samples).astype(np.float32)
    return (
        torch.from_numpy(rng.normal(0, 3, (samples, classes)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, classes, samples)),
        torch.from_numpy(soft),
        torch.from_numpy(rng.uniform(0.1, 3, classes).astype(np.float32)),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_of_class_indices_are_torchs_to_the_bit(
    *, smoothing: float, weighted: bool
) -> None:
    logits, targets, _, weights = draw((37, 4, 1))
    chosen = weights if weighted else None
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = CLASSIFICATION.loss(ours, targets, class_weights=chosen, label_smoothing=smoothing).mean
    reference = cross_entropy(theirs, targets, weight=chosen, label_smoothing=smoothing)
    loss.backward()
    reference.backward()
    assert loss.item() == reference.item()
    assert torch.equal(ours.grad, theirs.grad)


@settings(deadline=None, max_examples=40)
@given(cases, shares)
def test_soft_loss_equals_the_hard_one_when_each_target_is_one_class(
    case: tuple[int, int, int], smoothing: float
) -> None:
    logits, targets, _, weights = draw(case)
    certain = one_hot(targets, logits.shape[1]).float()
    for chosen in (None, weights):
        options = {"class_weights": chosen, "label_smoothing": smoothing}
        hard, soft = (CLASSIFICATION.loss(logits, each, **options) for each in (targets, certain))
        assert soft.mean.item() == pytest.approx(hard.mean.item(), rel=1e-5, abs=1e-6)
        assert soft.weight.item() == pytest.approx(hard.weight.item(), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(cases, shares)
def test_soft_loss_equals_torchs_with_probabilities(case: tuple[int, int, int], smoothing: float) -> None:
    logits, _, soft, weights = draw(case)
    plain = CLASSIFICATION.loss(logits, soft, label_smoothing=smoothing)
    assert plain.mean.item() == pytest.approx(
        cross_entropy(logits, soft, label_smoothing=smoothing).item(), rel=1e-5
    )
    weighted = CLASSIFICATION.loss(logits, soft, class_weights=weights, label_smoothing=smoothing)
    total = cross_entropy(logits, soft, weight=weights, label_smoothing=smoothing, reduction="sum").item()
    assert weighted.total.item() == pytest.approx(total, rel=1e-4)
    assert weighted.weight.item() == pytest.approx((soft.numpy() @ weights.numpy()).sum(), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(cases, st.floats(0.5, 5))
def test_focal_loss_follows_its_formula(case: tuple[int, int, int], exponent: float) -> None:
    logits, targets, _, weights = draw(case)
    p = CLASSIFICATION.probabilities(logits.numpy())[np.arange(len(targets)), targets.numpy()]
    alpha = weights.numpy()[targets.numpy()]
    found = CLASSIFICATION.loss(logits, targets, class_weights=weights, focal=exponent)
    expected = (-alpha * (1 - p) ** exponent * np.log(p)).sum() / alpha.sum()
    assert found.mean.item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(cases, st.floats(0, 3), st.integers(1, 8))
def test_totals_and_weights_of_parts_add_up_to_the_whole_batch(
    case: tuple[int, int, int], focal: float, cut: int
) -> None:
    logits, targets, soft, weights = draw(case)
    for aim in (targets, soft * torch.linspace(0.1, 2, len(soft))[:, None]):
        options = {"class_weights": weights, "label_smoothing": 0.1, "focal": focal}
        whole = CLASSIFICATION.loss(logits, aim, **options)
        parts = [
            CLASSIFICATION.loss(logits[part], aim[part], **options)
            for part in (slice(None, cut), slice(cut, None))
            if len(logits[part])
        ]
        total, weight = sum(part.total for part in parts), sum(part.weight for part in parts)
        assert (total / weight).item() == pytest.approx(whole.mean.item(), rel=1e-4, abs=1e-6)


def test_loss_counts_a_sample_by_its_weight_as_often_as_it_is_repeated() -> None:
    logits, targets, _, _ = draw((6, 3, 5))
    times = torch.tensor([1, 2, 0, 3, 1, 1])
    repeated = CLASSIFICATION.loss(
        logits.repeat_interleave(times, dim=0), targets.repeat_interleave(times), label_smoothing=0.1
    )
    weighted = CLASSIFICATION.loss(logits, one_hot(targets, 3) * times[:, None].float(), label_smoothing=0.1)
    assert weighted.mean.item() == pytest.approx(repeated.mean.item(), rel=1e-6)


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_gradient_is_finite_when_answers_are_certain_or_nothing_has_a_weight(focal: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    for targets in (torch.tensor([0, 0]), torch.zeros(2, 2)):
        loss = CLASSIFICATION.loss(logits, targets, focal=focal)
        (gradient,) = torch.autograd.grad(loss.mean, logits)
        assert torch.isfinite(loss.mean)
        assert torch.isfinite(gradient).all()
