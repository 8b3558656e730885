"""The record of a training as the file ``checkpoint/history.json`` holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.files.records import Record, VersionedRecord, read_record, write_record
from pipeline.machine.settings import Settings

HISTORY_FILE = "history.json"
REMEDY = "Train again: graft finetune RUN --force"


class LeadRecord(Record):
    """By how much a model is better than another on the same samples.

    Attributes:
        nats: Mean difference of the calibrated losses; below 0 the model is worse.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    nats: float
    low: float
    high: float


class Epoch(Record):
    """The figures of one epoch; epoch 0 is the linear head on the frozen backbone.

    Attributes:
        epoch: Number of the epoch.
        train_loss: Mean training loss in nats, with smoothing and class weights; None for epoch 0.
        seen_loss: Mean loss on some training samples, measured as that on validation is: without random
            changes, after calibration, in nats, without class weights; None for epoch 0, and where it was not
            measured.
        validation_loss: Mean loss on validation after calibration, in nats, without class weights.
        validation_accuracy: Share of right answers on validation, in [0, 1].
        samples_per_s: Speed of training, in samples a second; None for epoch 0.
        over_head: Lead over epoch 0 on validation; None for epoch 0, and where it was not measured.
        over_best: Lead over the best of the trained epochs before on validation; None where there is none.
    """

    epoch: int
    train_loss: float | None
    seen_loss: float | None = None
    validation_loss: float
    validation_accuracy: float
    samples_per_s: float | None
    over_head: LeadRecord | None = None
    over_best: LeadRecord | None = None


class HeadRecord(Record):
    """The best linear head on frozen features, below which no training ends.

    Attributes:
        penalty: The L2 penalty on its weights.
        validation_loss: Mean loss on validation after calibration, in nats.
        validation_accuracy: Share of right answers on validation, in [0, 1].
    """

    penalty: float
    validation_loss: float
    validation_accuracy: float


class TrainedRecord(Record):
    """How the weights that are kept were trained; for the head alone, how those that lost to it were.

    Attributes:
        mode: The strategy whose result is kept, ``features`` for the head alone.
        why: One sentence that says what was chosen, and why.
        epochs: Number of epochs that were planned; 0 where nothing trains but the head.
        batch_size: Number of samples in a step.
        learning_rate: Peak of the head's learning rate.
        layer_decay: Factor of the learning rate from each layer to the one below it.
        batch_norm_frozen: Whether batch statistics stayed as they were pretrained.
    """

    mode: str
    why: str
    epochs: int
    batch_size: int
    learning_rate: float
    layer_decay: float
    batch_norm_frozen: bool


class TrialRecord(Record):
    """A training on the way to a decision.

    Attributes:
        name: What was tried, for people.
        learning_rate: Peak of the head's learning rate.
        epochs: Number of epochs.
        validation_loss: The best epoch's loss on validation after calibration, in nats.
        validation_accuracy: The best epoch's share of right answers on validation.
    """

    name: str
    learning_rate: float
    epochs: int
    validation_loss: float
    validation_accuracy: float


class ViewsRecord(Record):
    """The average of a network's answers over several views of each sample (test-time augmentation).

    Attributes:
        views: What was averaged over, such as ``each picture and its mirror image``.
        gain: Lead of the average over the single pass on validation, before teaching.
        validation_loss: Loss of the average on validation after calibration, in nats.
        validation_accuracy: The average's share of right answers on validation, in [0, 1].
        taught: Whether the network was taught the average, and is better on validation for it.
    """

    views: str
    gain: LeadRecord
    validation_loss: float
    validation_accuracy: float
    taught: bool


class History(VersionedRecord):
    """How a checkpoint came to be.

    Attributes:
        settings: Device, precision and threads of the training, and why they were chosen.
        class_weights: The weight of each class in the loss, in the order of the labels; None for equal ones.
        balance: One sentence that says how unequal the classes are, and what was done about it.
        head: The best linear head.
        trained: How the weights that are kept were trained.
        trials: What was tried on the way.
        best_epoch: The epoch whose weights were kept; 0 for the head alone.
        kept: What people call the weights that were kept, such as ``epoch 3``.
        epochs: The figures of each epoch, from epoch 0 on.
        remarks: What the figures say, and what could be changed, one or more whole sentences each.
        views: What the average over several views was worth; None where the recipe asks for none.
    """

    schema_version: Literal[2] = 2  # type: ignore[assignment]

    settings: Settings
    class_weights: tuple[float, ...] | None
    balance: str = ""
    head: HeadRecord
    trained: TrainedRecord
    trials: tuple[TrialRecord, ...] = ()
    best_epoch: int
    kept: str
    epochs: tuple[Epoch, ...]
    remarks: tuple[str, ...] = ()
    views: ViewsRecord | None = None


def write_history(folder: Path, history: History) -> None:
    """Write the record of a training into the checkpoint's folder."""
    write_record(folder / HISTORY_FILE, history)


def read_history(folder: Path) -> History:
    """Read the record of a training from the checkpoint's folder.

    Raises:
        GraftError: The file does not hold it; the message names the remedy.
    """
    return read_record(folder / HISTORY_FILE, History, REMEDY)
