from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts.history import Epoch
from pipeline.errors import GraftError
from pipeline.finetune.course.loop import Outcome, train
from pipeline.finetune.plan import Keeping, Objective, Plan, Rates
from pipeline.finetune.start.heads import LinearHead
from pipeline.finetune.start.prepared import Prepared, Split, floor_of
from pipeline.finetune.steps.training import DivergedError, Training
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

    def reset_classifier(self, classes: int) -> None:
        self.head = nn.Linear(4, classes)

    def get_classifier(self) -> nn.Linear:
        return self.head


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
    rates=Rates(learning_rate=0.02),
    objective=Objective(label_smoothing=0.1),
)


def prepared(validation: Split | None = None, samples: int = 64) -> Prepared:
    torch.manual_seed(0)
    classifier, chosen = ImageClassifier(Small(), HALF), validation or split(32, 2)
    linear = classifier.network.get_classifier()
    head = LinearHead(linear.weight.detach().numpy(), linear.bias.detach().numpy(), penalty=0.4)
    logits = compute_logits(classifier, chosen.examples, "cpu", "start", "pictures")
    return Prepared(
        classifier=classifier,
        train=split(samples, 1),
        validation=chosen,
        floor=floor_of(classifier, logits, chosen.targets, CLASSIFICATION),
        best_head=head,
        gentle_head=head,
        class_weights=None,
        task=CLASSIFICATION,
        unit="pictures",
    )


def fit(start: Prepared | None = None, rates: Rates | None = None, **changes: object) -> Outcome:
    plan = replace(PLAN, rates=rates or PLAN.rates, **changes)
    return train(start or prepared(), plan, Full(head_first=True))


def test_train_learns_and_keeps_an_epoch_that_is_as_good_as_the_best() -> None:
    outcome = fit()
    losses = [epoch.validation_loss for epoch in outcome.epochs]
    assert [epoch.epoch for epoch in outcome.epochs] == [0, 1, 2, 3, 4]
    assert outcome.kept.epoch > 0
    assert outcome.kept.judged.loss <= min(losses) + 0.05
    assert outcome.epochs[outcome.kept.epoch].validation_accuracy > 0.9


def test_train_returns_the_weights_and_logits_of_the_best_epoch() -> None:
    start = prepared()
    outcome = fit(start)
    start.classifier.saved().load_state_dict(outcome.kept.state)
    logits = compute_logits(start.classifier, start.validation.examples, "cpu", "again", "pictures")
    assert np.allclose(logits, outcome.kept.logits, atol=1e-6)


def test_train_keeps_the_start_when_training_makes_it_worse() -> None:
    # The better it learns, the worse it is on targets that are turned around.
    start = prepared(Split(split(32, 2).examples, 1 - split(32, 2).targets))
    before = hash_tensors(start.classifier.saved().state_dict())
    outcome = fit(start)
    assert outcome.kept is start.floor
    assert hash_tensors(outcome.kept.state) == before


def test_train_stops_with_the_remedy_when_training_diverges() -> None:
    with pytest.raises(GraftError, match=r"Lower finetune\.learning_rate \(now 1e\+30\)"):
        fit(rates=Rates(1e30, warmup=0.0))


def test_train_gives_the_same_weights_when_seed_is_the_same_and_others_when_not() -> None:
    hashes = [hash_tensors(fit(seed=seed).kept.state) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_train_leaves_batch_statistics_alone_when_frozen() -> None:
    frozen, trained = (
        fit(freeze_batch_norm=frozen).kept.state["body.1.running_mean"] for frozen in (True, False)
    )
    assert torch.equal(frozen, torch.zeros(4))
    assert not torch.equal(trained, torch.zeros(4))


def test_train_trains_when_there_are_fewer_samples_than_a_batch() -> None:
    outcome = fit(prepared(samples=12), batch_size=256)
    assert outcome.epochs[-1].train_loss is not None


def test_train_heeds_class_weights() -> None:
    def lead_of_first_class(*weights: float) -> float:
        start = replace(prepared(), class_weights=np.array(weights, np.float32))
        logits = fit(start, epochs=1).kept.logits
        return float((logits[:, 0] - logits[:, 1]).mean())

    assert lead_of_first_class(1.9, 0.1) > lead_of_first_class(0.1, 1.9)


def test_train_shuffles_when_samples_have_no_lengths_to_batch_by() -> None:
    assert hash_tensors(fit(batch_by_length=True).kept.state) == hash_tensors(fit().kept.state)


def test_weights_that_the_last_step_of_an_epoch_ruined_are_told_before_the_next_begins() -> None:
    training = Training(prepared(), PLAN, Full(head_first=True))
    training.check_weights(1.0)
    for loss in (21.3, float("nan")):
        with pytest.raises(DivergedError, match=f"the training loss has risen to {loss:.3g}"):
            training.check_weights(loss)


def test_train_keeps_the_best_epoch_where_patience_cuts_the_schedule_short() -> None:
    outcome = fit(rates=Rates(0.3, warmup=0.0), epochs=40, keeping=Keeping(patience=2))
    losses = [epoch.validation_loss for epoch in outcome.epochs[1:]]
    assert len(losses) < 40
    assert outcome.kept.epoch == 1 + int(np.argmin(losses))


def test_train_tells_each_epoch_as_soon_as_it_is_judged_and_ends_when_told_to() -> None:
    told: list[int] = []

    class EnoughError(Exception):
        pass

    def watch(epoch: Epoch) -> None:
        told.append(epoch.epoch)
        if epoch.epoch == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        train(prepared(), PLAN, Full(head_first=False), watch=watch)
    assert told == [1, 2]
