from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.tasks.classification import CLASSIFICATION

shapes = array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6)
extreme_logits = arrays(
    np.float32, shapes, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
)
usual_logits = arrays(np.float32, shapes, elements=st.floats(-50, 50, width=32))
temperatures = st.floats(0.2, 20.0)
# Few values, so that ties are frequent.
scores_with_ties = arrays(np.float64, (8, 3), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@settings(deadline=None)
@given(usual_logits, temperatures)
def test_probabilities_equal_torchs_softmax(logits: np.ndarray, temperature: float) -> None:
    reference = torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()
    assert np.allclose(CLASSIFICATION.probabilities(logits, temperature), reference, atol=1e-12)


@settings(deadline=None)
@given(extreme_logits, temperatures)
def test_probabilities_are_finite_and_sum_to_one_when_logits_are_extreme(
    logits: np.ndarray, temperature: float
) -> None:
    probabilities = CLASSIFICATION.probabilities(logits, temperature)
    assert probabilities.dtype == np.float64
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    largest = logits[np.arange(len(logits)), CLASSIFICATION.answers(probabilities)]
    assert np.allclose(largest, logits.max(axis=1), rtol=1e-6, atol=1e-15), "the order is that of the logits"


@settings(deadline=None)
@given(usual_logits, temperatures)
def test_served_gives_in_float32_what_probabilities_gives(logits: np.ndarray, temperature: float) -> None:
    served = CLASSIFICATION.served(torch.from_numpy(logits), temperature)
    assert served.dtype == torch.float32
    assert np.allclose(served.numpy(), CLASSIFICATION.probabilities(logits, temperature), atol=1e-4)


@settings(deadline=None)
@given(scores_with_ties)
def test_answers_is_the_first_of_the_most_probable_classes(scores: np.ndarray) -> None:
    answers = CLASSIFICATION.answers(scores)
    assert answers.dtype == np.int64
    assert answers.tolist() == [row.index(max(row)) for row in scores.tolist()]


@settings(deadline=None)
@given(scores_with_ties)
def test_confidences_are_those_of_the_answers(scores: np.ndarray) -> None:
    rows = np.arange(len(scores))
    assert np.array_equal(CLASSIFICATION.confidences(scores), scores[rows, CLASSIFICATION.answers(scores)])


@settings(deadline=None)
@given(scores_with_ties)
def test_margins_are_nothing_when_two_classes_tie_and_else_the_lead(scores: np.ndarray) -> None:
    best_two = [sorted(row)[-2:] for row in scores.tolist()]
    assert CLASSIFICATION.margins(scores).tolist() == [best - second for second, best in best_two]


@settings(deadline=None)
@given(scores_with_ties, scores_with_ties)
def test_agree_says_where_the_answers_are_the_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    agree = CLASSIFICATION.agree(ours, theirs)
    assert agree.dtype == np.bool_
    assert agree.shape == (len(ours),)
    assert np.array_equal(agree, CLASSIFICATION.agree(theirs, ours))
    assert np.array_equal(agree, CLASSIFICATION.answers(ours) == CLASSIFICATION.answers(theirs))
    assert CLASSIFICATION.agree(ours, ours).all()


def test_loss_is_the_negative_log_likelihood_weighted_by_class() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 2, (20, 3)).astype(np.float32), np.arange(20) % 3
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    each = -np.log(CLASSIFICATION.probabilities(logits)[np.arange(20), targets])
    found = CLASSIFICATION.loss(
        torch.from_numpy(logits), torch.from_numpy(targets), class_weights=torch.from_numpy(weights)
    )
    assert found.mean.item() == pytest.approx(
        (each * weights[targets]).sum() / weights[targets].sum(), rel=1e-5
    )


def test_loss_with_smoothing_is_never_nothing_however_sure_the_answer() -> None:
    sure, target = torch.tensor([[30.0, -30.0]]), torch.tensor([0])
    assert CLASSIFICATION.loss(sure, target).mean.item() == pytest.approx(0, abs=1e-6)
    # A tenth of the target lies on both classes alike: 0.05 of it on the one with a probability of e^-60.
    assert CLASSIFICATION.loss(sure, target, label_smoothing=0.1).mean.item() == pytest.approx(3.0, rel=1e-5)
