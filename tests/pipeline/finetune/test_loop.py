from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.finetune.loop import Split, Trainer, warmup_cosine
from pipeline.machine.settings import Settings
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.network import ImageClassifier, Normalisation
from pipeline.modalities.image.recipe import ImageAugment, ImageFinetune
from pipeline.modalities.image.training import training_options
from pipeline.modalities.tensors import hash_tensors

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CPU = Settings("cpu", "fp32", threads=2, why="test")


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


def trainer(seed: int = 0, **changes: object) -> Trainer:
    torch.manual_seed(0)
    options = {"epochs": 4, "batch_size": 8, "learning_rate": 0.02} | changes
    section = ImageFinetune.model_validate(options)
    classifier = ImageClassifier(Small(), HALF)
    return Trainer(classifier, section, CPU, seed, None, "pictures", training_options(section))


def fit(built: Trainer, validation: Split | None = None):
    chosen = validation or split(32, 2)
    return built.fit(split(64, 1), chosen, built.logits(chosen.examples))


def test_fit_learns_and_keeps_the_best_epoch_by_validation_loss() -> None:
    outcome = fit(trainer())
    losses = [epoch.validation_loss for epoch in outcome.epochs]
    assert len(losses) == 5
    assert outcome.best_epoch == int(np.argmin(losses)) > 0
    assert outcome.epochs[outcome.best_epoch].validation_accuracy > 0.9


def test_fit_returns_the_weights_and_logits_of_the_best_epoch() -> None:
    built, validation = trainer(), split(32, 2)
    outcome = fit(built, validation)
    built.model.load_state_dict(outcome.state)
    assert np.allclose(built.logits(validation.examples), outcome.validation_logits, atol=1e-6)


def test_fit_keeps_the_start_when_training_makes_it_worse() -> None:
    built = trainer(learning_rate=50.0, warmup=0.0)
    before = hash_tensors(built.model.state_dict())
    wrong = Split(
        split(32, 2).examples, 1 - split(32, 2).targets
    )  # the better it learns, the worse it is on these
    outcome = fit(built, wrong)
    assert outcome.best_epoch == 0
    assert hash_tensors(outcome.state) == before


def test_fit_stops_with_the_remedy_when_training_diverges() -> None:
    with pytest.raises(GraftError, match=r"Lower finetune\.learning_rate \(now 1e\+30\)"):
        fit(trainer(learning_rate=1e30, warmup=0.0))


def test_fit_gives_the_same_weights_when_seed_is_the_same_and_others_when_not() -> None:
    hashes = [hash_tensors(fit(trainer(seed)).state) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_fit_leaves_batch_statistics_alone_when_frozen() -> None:
    frozen, trained = (
        fit(trainer(batch_norm=choice)).state["body.1.running_mean"] for choice in ("frozen", "train")
    )
    assert torch.equal(frozen, torch.zeros(4))
    assert not torch.equal(trained, torch.zeros(4))


def test_fit_trains_when_there_are_fewer_samples_than_a_batch() -> None:
    built, validation = trainer(batch_size=256), split(8, 2)
    outcome = built.fit(split(12, 1), validation, built.logits(validation.examples))
    assert outcome.epochs[-1].train_loss is not None


def test_warmup_cosine_rises_then_falls_to_nothing() -> None:
    factor = warmup_cosine(0.1, 100)
    values = [factor(step) for step in range(101)]
    assert values[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert max(values) == values[10] == 1
    assert all(a >= b for a, b in pairwise(values[10:]))
    assert values[100] == pytest.approx(0, abs=1e-9)
