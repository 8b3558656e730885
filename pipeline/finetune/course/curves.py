"""What the curves of a training say, in plain sentences, each with what could be changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.artifacts.history import Epoch, LeadRecord
from pipeline.finetune.auto import Decision
from pipeline.finetune.course.epochs import best_of
from pipeline.finetune.keep.judging import least_smoothed_loss
from pipeline.finetune.start.prepared import Prepared
from pipeline.measures.intervals import proportion_interval

# A share of the loss of guessing above which a model has learned nothing: 60 of 100 right of two equal
# classes are at 0.97.
NOTHING_LEARNT = 0.97
# A share of the validation loss that the last third of the epochs has to gain for more epochs to be advised.
STILL_GAINED = 0.05
# A share of the loss on validation, both without what smoothed targets cost the surest model; where that on
# seen samples is below it, they were learned by heart.
BY_HEART = 0.5
# Width of the accuracy's 95 % interval above which validation says little: about 100 samples at 0.85.
WIDE = 0.15


@dataclass(frozen=True)
class Circumstances:
    """What has to be known to read the curves of a training.

    Attributes:
        unit: What several samples are called, such as ``pictures``.
        train_samples: Number of training samples.
        validation_samples: Number of samples of validation.
        classes: Number of classes.
        guessing_loss: Loss in nats of guessing by the classes' shares of the training samples.
        learning_rate: Peak of the head's learning rate.
        mode: The mode that the recipe asks for.
        kept_epoch: The epoch that is kept; 0 for the head on the frozen backbone.
        kept_accuracy: Accuracy on validation of what is kept, in [0, 1].
    """

    unit: str
    train_samples: int
    validation_samples: int
    classes: int
    guessing_loss: float
    learning_rate: float
    mode: str
    kept_epoch: int
    kept_accuracy: float


def remarks_of(mode: str, prepared: Prepared, decision: Decision) -> tuple[str, ...]:
    """Return what was decided of random changes, and what the curves of the training that is kept say.

    Args:
        mode: The mode that the recipe asks for.
        prepared: What the training started from.
        decision: What was trained and kept.
    """
    kept, counts = decision.outcome.kept, np.bincount(prepared.train.targets)
    shares = counts[counts > 0] / counts.sum()
    circumstances = Circumstances(
        unit=prepared.unit,
        train_samples=len(prepared.train),
        validation_samples=len(prepared.validation),
        classes=len(shares),
        guessing_loss=float(-(shares * np.log(shares)).sum()),
        learning_rate=decision.plan.rates.learning_rate,
        mode=mode,
        kept_epoch=0 if kept is prepared.floor else kept.epoch,
        kept_accuracy=kept.judged.accuracy,
    )
    return (*prepared.remarks, *read_curves(decision.outcome.epochs, circumstances))


def read_curves(epochs: Sequence[Epoch], known: Circumstances) -> tuple[str, ...]:
    """Return what there is to say of some epochs, the most important first.

    Args:
        epochs: The figures of all epochs, from epoch 0, the head on the frozen backbone, on.
        known: What else has to be known.
    """
    trained = epochs[1:]
    if not trained:
        head_alone = (
            f"Nothing but the head on the frozen backbone was trained, as finetune.mode: {known.mode} says;"
            " mode: auto also trains the backbone, and keeps it where validation finds it better."
        )
        return tuple(filter(None, (head_alone, _little_validation(known))))
    found = (
        _nothing_learnt(epochs[0], trained, known),
        _turn(trained, known),
        _still_falling(trained, known),
    )
    shape = next(filter(None, found), None)
    return tuple(filter(None, (_kept_head(trained, known), shape, _little_validation(known))))


def _kept_head(trained: Sequence[Epoch], known: Circumstances) -> str | None:
    """Return why the head on the frozen backbone is kept, and what could make training better than it."""
    if known.kept_epoch != 0:
        return None
    best = best_of(trained)
    return (
        f"Kept epoch 0, the best head on the frozen backbone: {_behind(best, known)}."
        f" {_remedy_below_head(trained, best, known)}"
    )


def _behind(best: Epoch, known: Circumstances) -> str:
    """Return by how much the best trained epoch falls short of the head."""
    place = f"on {known.validation_samples} {known.unit} of validation"
    if best.over_head is None:
        return f"no trained epoch was better {place}"
    short = LeadRecord(nats=-best.over_head.nats, low=-best.over_head.high, high=-best.over_head.low)
    figures = f"{short.nats:.3f} nats {place} (95 % interval {short.low:+.3f} to {short.high:+.3f})"
    if short.low > 0:
        return f"the best trained epoch, {best.epoch}, was worse by {figures}"
    return (
        f"the best trained epoch, {best.epoch}, was behind it by {figures}: so few {known.unit}"
        " cannot tell the two apart, and then the head is kept"
    )


def _remedy_below_head(trained: Sequence[Epoch], best: Epoch, known: Circumstances) -> str:
    """Return what could make training better than the head."""
    if min(_seen_loss(trained[-1]), best.validation_loss) >= NOTHING_LEARNT * known.guessing_loss:
        return f"What can help is more finetune.epochs (now {len(trained)}), or mode: lp-ft."
    lower = f"a lower finetune.learning_rate (a third of {known.learning_rate:.2g})"
    gentler = lower if known.mode == "lora" else f"mode: lora, {lower}"
    least = least_smoothed_loss(known.validation_samples, known.classes)
    if best.seen_loss is not None and best.seen_loss - least < BY_HEART * (best.validation_loss - least):
        return (
            f"Training learned its {known.train_samples} {known.unit} ({best.seen_loss:.3f} nats) without"
            f" getting better on others ({best.validation_loss:.3f}): what can help is {gentler},"
            f" stronger finetune.augment, or more {known.unit}."
        )
    if best.epoch == trained[-1].epoch and len(trained) > 1:
        return f"It was still getting better when it ended: try more finetune.epochs (now {len(trained)})."
    return f"What can help is {gentler}, or more {known.unit} ({known.train_samples} train)."


def _nothing_learnt(head: Epoch, trained: Sequence[Epoch], known: Circumstances) -> str | None:
    """Say that the loss on the training samples never left that of guessing."""
    loss = _seen_loss(trained[-1])
    if min(loss, best_of(trained).validation_loss) < NOTHING_LEARNT * known.guessing_loss:
        return None
    count = len(trained)
    epochs = f"{count} epochs" if count > 1 else "1 epoch"
    stuck = (
        f"After {epochs} the loss on the training {known.unit} is still {loss:.3f} nats, and guessing"
        f" between {known.classes} classes has {known.guessing_loss:.3f}: nothing was learned."
    )
    if head.validation_loss < NOTHING_LEARNT * known.guessing_loss:
        return (
            f"{stuck} The head on the frozen backbone does tell the classes apart (validation accuracy"
            f" {head.validation_accuracy:.3f}), so the training is at fault: the learning rate"
            f" ({known.learning_rate:.2g}) may be far too high or too low, or a random change in"
            " finetune.augment, such as mirroring, takes away what tells the classes apart."
        )
    return (
        f"{stuck} Look at the labels of some {known.unit}; at finetune.augment, where a random change such as"
        " mirroring may take away what tells the classes apart; and at the learning rate"
        f" ({known.learning_rate:.2g}), which may be far too high or too low."
    )


def _turn(trained: Sequence[Epoch], known: Circumstances) -> str | None:
    """Say that validation got worse after its best epoch, and name the gap to the training samples."""
    best, last = best_of(trained), trained[-1]
    if best is last or last.over_best is None or last.over_best.high >= 0:
        return None
    start, end = _seen_loss(best), _seen_loss(last)
    turned = (
        f"Validation was best at epoch {best.epoch} and got worse by {-last.over_best.nats:.2f} nats until"
        f" epoch {last.epoch}"
    )
    if end >= start:
        # A model that is right everywhere may lose a little to smoothed targets while it still learns.
        if (last.train_loss or 0) <= (best.train_loss or 0):
            return None
        return (
            f"{turned}, and so did the loss on the training {known.unit} ({start:.3f} to {end:.3f}): the"
            f" steps are too large. Lower finetune.learning_rate (now {known.learning_rate:.2g})."
        )
    fewer = "mode: features" if known.mode == "lora" else "mode: lora or features"
    return (
        f"{turned}, while the loss on the training {known.unit} fell from {start:.3f} to {end:.3f}: the model"
        f" learns them by heart. The gap between the two grew from {best.validation_loss - start:.2f} to"
        f" {last.validation_loss - end:.2f} nats. Stronger finetune.augment, more finetune.weight_decay,"
        f" fewer epochs (about {best.epoch}), or {fewer} leave less room for that."
    )


def _still_falling(trained: Sequence[Epoch], known: Circumstances) -> str | None:
    """Say that the last epochs still gained, so that more of them may help."""
    if len(trained) < 3 or best_of(trained) is not trained[-1]:
        return None
    before, last = trained[-1 - max(1, len(trained) // 3)], trained[-1]
    gain = before.validation_loss - last.validation_loss
    if gain < STILL_GAINED * before.validation_loss or known.kept_epoch == 0:
        return None
    return (
        f"Validation was still getting better when training ended (from {before.validation_loss:.3f} at epoch"
        f" {before.epoch} to {last.validation_loss:.3f} at epoch {last.epoch}): more finetune.epochs (now"
        f" {len(trained)}) may help."
    )


def _little_validation(known: Circumstances) -> str | None:
    """Say that validation has too few samples to tell one model from another."""
    count = known.validation_samples
    low, high = proportion_interval(round(known.kept_accuracy * count), count)
    if high - low <= WIDE:
        return None
    return (
        f"Validation has {count} {known.unit}: an accuracy of {known.kept_accuracy:.3f} on them stands for"
        f" anything from {low:.2f} to {high:.2f} (95 % interval), so which epoch is the best is partly"
        f" chance. More labelled {known.unit}, or a larger data.splits.validation, would tell."
    )


def _seen_loss(epoch: Epoch) -> float:
    """Return the loss on training samples as it is measured on validation, or else that of the batches."""
    loss = epoch.train_loss if epoch.seen_loss is None else epoch.seen_loss
    assert loss is not None, "a trained epoch has a training loss"
    return loss
