from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.loop import Outcome, train, warmup_cosine
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared, Split
from pipeline.finetune.strategies.full import Full
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.tensors import hash_tensors
from pipeline.tasks.classification import CLASSIFICATION

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Small(nn.Module):
    """Tells bright pictures from dark ones, once trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(4, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(batch))


def split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    pixels = np.clip(rng.normal(80 + 90 * targets[:, None, None, None], 30, (count, 8, 8, 3)), 0, 255).astype(
        np.uint8
    )
    return Split(ImageExamples(pixels, ImageAugment()), targets)


PLAN = Plan(
    epochs=4,
    batch_size=8,
    learning_rate=0.02,
    layer_decay=1.0,
    weight_decay=0.05,
    warmup=0.1,
    label_smoothing=0.1,
    freeze_batch_norm=False,
    batch_by_length=False,
    device="cpu",
    precision="fp32",
    seed=0,
)


def prepared(validation: Split | None = None, samples: int = 64) -> Prepared:
    torch.manual_seed(0)
    classifier, chosen = ImageClassifier(Small(), HALF), validation or split(32, 2)
    return Prepared(
        classifier=classifier,
        train=split(samples, 1),
        validation=chosen,
        start_logits=compute_logits(classifier, chosen.examples, "cpu", "start", "pictures"),
        head_penalty=0.4,
        class_weights=None,
        task=CLASSIFICATION,
        unit="pictures",
    )


def fit(start: Prepared | None = None, **changes: object) -> Outcome:
    return train(start or prepared(), replace(PLAN, **changes), Full())


def test_train_learns_and_keeps_the_best_epoch_by_validation_loss() -> None:
    outcome = fit()
    losses = [epoch.validation_loss for epoch in outcome.epochs]
    assert [epoch.epoch for epoch in outcome.epochs] == [0, 1, 2, 3, 4]
    assert outcome.best_epoch == int(np.argmin(losses)) > 0
    assert outcome.epochs[outcome.best_epoch].validation_accuracy > 0.9


def test_train_returns_the_weights_and_logits_of_the_best_epoch() -> None:
    start = prepared()
    outcome = fit(start)
    start.classifier.saved().load_state_dict(outcome.state)
    logits = compute_logits(start.classifier, start.validation.examples, "cpu", "again", "pictures")
    assert np.allclose(logits, outcome.validation_logits, atol=1e-6)


def test_train_keeps_the_start_when_training_makes_it_worse() -> None:
    # The better it learns, the worse it is on targets that are turned around.
    start = prepared(Split(split(32, 2).examples, 1 - split(32, 2).targets))
    before = hash_tensors(start.classifier.saved().state_dict())
    outcome = fit(start, learning_rate=50.0, warmup=0.0)
    assert outcome.best_epoch == 0
    assert hash_tensors(outcome.state) == before
    assert np.array_equal(outcome.validation_logits, start.start_logits)


def test_train_stops_with_the_remedy_when_training_diverges() -> None:
    with pytest.raises(GraftError, match=r"Lower finetune\.learning_rate \(now 1e\+30\)"):
        fit(learning_rate=1e30, warmup=0.0)


def test_train_gives_the_same_weights_when_seed_is_the_same_and_others_when_not() -> None:
    hashes = [hash_tensors(fit(seed=seed).state) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_train_leaves_batch_statistics_alone_when_frozen() -> None:
    frozen, trained = (fit(freeze_batch_norm=frozen).state["body.1.running_mean"] for frozen in (True, False))
    assert torch.equal(frozen, torch.zeros(4))
    assert not torch.equal(trained, torch.zeros(4))


def test_train_trains_when_there_are_fewer_samples_than_a_batch() -> None:
    outcome = fit(prepared(samples=12), batch_size=256)
    assert outcome.epochs[-1].train_loss is not None


def test_train_heeds_class_weights() -> None:
    def lead_of_first_class(*weights: float) -> float:
        start = replace(prepared(), class_weights=np.array(weights, np.float32))
        fit(start, epochs=1)
        logits = compute_logits(start.classifier, start.validation.examples, "cpu", "lead", "pictures")
        return float((logits[:, 0] - logits[:, 1]).mean())

    assert lead_of_first_class(1.9, 0.1) > lead_of_first_class(0.1, 1.9)


def test_train_shuffles_when_samples_have_no_lengths_to_batch_by() -> None:
    assert hash_tensors(fit(batch_by_length=True).state) == hash_tensors(fit().state)


def test_warmup_cosine_rises_then_falls_to_nothing() -> None:
    factor = warmup_cosine(0.1, 100)
    values = [factor(step) for step in range(101)]
    assert values[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(values) == values[10] == 1
    assert all(a >= b for a, b in pairwise(values[10:]))
    assert values[100] == pytest.approx(0, abs=1e-9)
