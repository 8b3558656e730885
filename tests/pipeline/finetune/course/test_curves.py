from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.artifacts.history import Epoch, LeadRecord
from pipeline.finetune.auto import named
from pipeline.finetune.course.curves import Circumstances, read_curves, remarks_of
from pipeline.finetune.course.loop import train
from pipeline.finetune.keep.judging import judge, least_smoothed_loss
from pipeline.finetune.plan import Rates
from pipeline.finetune.start.prepared import Prepared, Split
from pipeline.finetune.strategies.full import Full
from pipeline.tasks.classification import CLASSIFICATION
from tests.pipeline.finetune.course.test_loop import PLAN, prepared, split

KNOWN = Circumstances(
    unit="pictures",
    train_samples=500,
    validation_samples=400,
    classes=2,
    guessing_loss=0.693,
    learning_rate=0.001,
    mode="auto",
    kept_epoch=3,
    kept_accuracy=0.9,
)


def epochs_of(
    validation: list[float], seen: list[float], head: float = 0.6, width: float = 0.01
) -> list[Epoch]:
    """Return epochs with these losses, whose leads have intervals of a width on either side."""

    def lead(nats: float) -> LeadRecord:
        return LeadRecord(nats=nats, low=nats - width, high=nats + width)

    start = Epoch(epoch=0, train_loss=None, validation_loss=head, validation_accuracy=0.8, samples_per_s=None)
    trained = [
        Epoch(
            epoch=number,
            train_loss=loss + 0.2,
            seen_loss=loss,
            validation_loss=judged,
            validation_accuracy=0.85,
            samples_per_s=10.0,
            over_head=lead(head - judged),
            over_best=lead(min(validation[: number - 1]) - judged) if number > 1 else None,
        )
        for number, (judged, loss) in enumerate(zip(validation, seen, strict=True), 1)
    ]
    return [start, *trained]


def test_a_turn_names_its_epoch_the_gap_and_what_helps() -> None:
    epochs = epochs_of([0.5, 0.45, 0.4, 0.46, 0.52], [0.4, 0.3, 0.2, 0.1, 0.03])
    (told,) = read_curves(epochs, KNOWN)
    assert told.startswith(
        "Validation was best at epoch 3 and got worse by 0.12 nats until epoch 5, while the loss on the"
        " training pictures fell from 0.200 to 0.030: the model learns them by heart."
    )
    assert "grew from 0.20 to 0.49 nats" in told
    for remedy in ("finetune.augment", "weight_decay", "fewer epochs (about 3)", "mode: lora or features"):
        assert remedy in told


def test_a_turn_within_chance_is_not_told() -> None:
    assert read_curves(epochs_of([0.5, 0.4, 0.405], [0.4, 0.3, 0.2]), KNOWN) == ()


def test_losses_that_rise_together_are_told_as_steps_too_large() -> None:
    (told,) = read_curves(epochs_of([0.4, 0.9, 0.55], [0.3, 0.8, 0.5]), KNOWN)
    assert "so did the loss on the training pictures" in told
    assert "Lower finetune.learning_rate (now 0.001)" in told


def test_losses_that_rise_together_while_training_learns_are_no_fault() -> None:
    *before, last = epochs_of([0.4, 0.45], [0.3, 0.32])
    assert read_curves([*before, last.model_copy(update={"train_loss": 0.1})], KNOWN) == ()


def test_no_model_has_less_than_the_least_smoothed_loss() -> None:
    sure, targets = np.array([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]] * 5), np.array([0, 1] * 5)
    least = least_smoothed_loss(10, 3)
    assert least <= judge(CLASSIFICATION, sure, targets).loss < least + 1e-3


@pytest.mark.parametrize(("head", "blamed"), [(0.3, "the training is at fault"), (0.69, "Look at the label")])
def test_a_loss_that_stays_that_of_guessing_is_told(head: float, blamed: str) -> None:
    known = replace(KNOWN, kept_epoch=0)
    told = read_curves(epochs_of([0.695] * 4, [0.69] * 4, head=head), known)
    assert len(told) == 2
    assert told[1].startswith(
        "After 4 epochs the loss on the training pictures is still 0.690 nats, and guessing between 2 classes"
        " has 0.693: nothing was learned."
    )
    assert blamed in told[1]
    assert "mirroring" in told[1]


def test_curves_that_still_fall_ask_for_more_epochs() -> None:
    (told,) = read_curves(epochs_of([0.6, 0.5, 0.4, 0.3], [0.5, 0.4, 0.35, 0.3]), KNOWN)
    assert "still getting better when training ended (from 0.400 at epoch 3 to 0.300 at epoch 4)" in told
    assert read_curves(epochs_of([0.6, 0.5, 0.4, 0.399], [0.5, 0.4, 0.35, 0.34]), KNOWN) == ()


@pytest.mark.parametrize(
    ("validation", "seen", "reason", "remedy"),
    [
        ([0.8, 0.7, 0.7], [0.3, 0.1, 0.1], "2, was worse by 0.100 nats on 400 pictures", "mode: lora"),
        ([0.9, 0.8, 0.7], [0.7, 0.6, 0.65], "3, was worse by 0.100 nats", "more finetune.epochs (now 3)"),
        ([0.7, 0.7, 0.7], [0.6, 0.5, 0.5], "1, was worse by 0.100 nats", "a third of 0.001"),
        ([0.605, 0.61, 0.61], [0.6, 0.5, 0.5], "cannot tell the two apart", "more pictures"),
    ],
)
def test_a_kept_head_has_its_reason_and_a_remedy(
    validation: list[float], seen: list[float], reason: str, remedy: str
) -> None:
    told = read_curves(epochs_of(validation, seen), replace(KNOWN, kept_epoch=0))[0]
    assert told.startswith("Kept epoch 0, the best head on the frozen backbone: the best trained epoch, ")
    assert reason in told
    assert "95 % interval" in told
    assert remedy in told


def test_a_head_that_the_recipe_asks_for_is_told_as_such() -> None:
    (told,) = read_curves(epochs_of([], []), replace(KNOWN, mode="features", kept_epoch=0))
    assert "as finetune.mode: features says" in told


def test_little_validation_is_told_with_the_interval_of_its_accuracy() -> None:
    epochs = epochs_of([0.5, 0.45, 0.4], [0.45, 0.4, 0.38])
    (told,) = read_curves(epochs[:3], replace(KNOWN, validation_samples=12, kept_accuracy=11 / 12))
    assert "Validation has 12 pictures" in told
    assert "from 0.62 to 1.00" in told


def test_remarks_of_a_training_that_learns_the_wrong_way_name_the_head_that_is_kept() -> None:
    # The better it learns, the worse it is on targets that are turned around.
    start = prepared(Split(split(32, 2).examples, 1 - split(32, 2).targets))
    plan = replace(PLAN, rates=Rates(0.05, warmup=0.0))
    outcome = train(start, plan, Full(head_first=True))
    told = remarks_of("lp-ft", start, named("lp-ft", start, plan, outcome))
    assert told[0].startswith("Kept epoch 0")
    assert any("Validation has 32 pictures" in each for each in told)


def test_the_loss_on_seen_samples_is_measured_as_that_on_validation_is() -> None:
    # Validation is the training split itself, so that both losses are of the same samples.
    start = prepared(split(64, 1))
    assert np.array_equal(start.train.targets, start.validation.targets)
    outcome = train(start, PLAN, Full(head_first=True))
    for epoch in outcome.epochs[1:]:
        assert epoch.seen_loss == pytest.approx(epoch.validation_loss, abs=1e-5)
        assert epoch.train_loss is not None
        assert epoch.train_loss > epoch.seen_loss  # smoothing raises it


def test_leads_of_epochs_are_over_the_head_and_over_the_best_epoch_before() -> None:
    start: Prepared = prepared()
    first, *rest = train(start, PLAN, Full(head_first=True)).epochs[1:]
    assert first.over_best is None
    best = first.validation_loss
    for epoch in (first, *rest):
        assert epoch.over_head is not None
        assert epoch.over_head.nats == pytest.approx(start.floor.judged.loss - epoch.validation_loss)
        assert epoch.over_head.low <= epoch.over_head.nats <= epoch.over_head.high
        if epoch is not first:
            assert epoch.over_best is not None
            assert epoch.over_best.nats == pytest.approx(best - epoch.validation_loss)
        best = min(best, epoch.validation_loss)


@pytest.mark.parametrize(("mode", "is_named"), [("lora", False), ("lp-ft", True)])
def test_lora_is_no_remedy_for_lora(mode: str, *, is_named: bool) -> None:
    epochs = epochs_of([0.65, 0.7, 0.8], [0.5, 0.3, 0.1])
    told = " ".join(read_curves(epochs, replace(KNOWN, mode=mode, kept_epoch=0)))
    assert "Kept epoch 0" in told
    assert ("mode: lora" in told) is is_named
