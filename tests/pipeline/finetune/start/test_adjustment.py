from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.finetune.start.adjustment import adjusted, bias_of, shift_of
from pipeline.finetune.start.imbalance import Balance
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from tests.pipeline.finetune.course.test_loop import prepared


def test_adjusted_moves_the_bias_so_that_a_checkpoint_answers_with_the_adjusted_logits() -> None:
    start = replace(prepared(), balance=Balance((48.0, 16.0), adjustment=1.0))
    before = hash_tensors(start.floor.state)
    kept = adjusted(start.floor, start)
    assert hash_tensors(start.floor.state) == before, "what was kept is not changed in place"
    difference = (kept.logits - start.floor.logits).astype(np.float64)
    assert difference[:, 1] - difference[:, 0] == pytest.approx(np.log(3), abs=1e-5)
    start.classifier.saved().load_state_dict(kept.state)
    examples = start.validation.examples
    answered = compute_logits(start.classifier, examples, "cpu", "again", "pictures")
    assert np.allclose(answered, kept.logits, atol=1e-6)
    unchanged = replace(start, balance=Balance((48.0, 16.0)))
    assert adjusted(start.floor, unchanged) is start.floor


def test_shift_turns_answers_by_the_classes_shares_into_even_ones() -> None:
    sizes = np.array([90.0, 9.0, 1.0])
    logits = np.log(sizes / sizes.sum())  # of a model that knows the shares and nothing else
    assert np.ptp(logits + shift_of(sizes, 1.0)) == pytest.approx(0, abs=1e-5)
    assert np.ptp(logits + shift_of(sizes, 0.5)) == pytest.approx(np.log(90) / 2, abs=1e-5)
    assert shift_of(sizes, 1.0).mean() == pytest.approx(0, abs=1e-6)


def test_bias_of_finds_the_name_in_the_checkpoint_and_leaves_the_classifier() -> None:
    classifier = prepared().classifier
    before = hash_tensors(classifier.saved().state_dict())
    assert bias_of(classifier, np.zeros((2, 4), np.float32)) == "head.bias"
    assert hash_tensors(classifier.saved().state_dict()) == before
    assert torch.is_tensor(classifier.saved().state_dict()["head.bias"])


def test_adjusted_judges_what_it_returns() -> None:
    start = replace(prepared(), balance=Balance((60.0, 4.0), adjustment=4.0))
    kept = adjusted(start.floor, start)
    assert kept.judged.accuracy == pytest.approx(
        (kept.logits.argmax(axis=1) == start.validation.targets).mean()
    )
