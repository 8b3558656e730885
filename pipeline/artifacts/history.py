"""The record of a training as the file ``checkpoint/history.json`` holds it."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.records import Record, VersionedRecord, read_record, write_record
from pipeline.machine.settings import Settings

HISTORY_FILE = "history.json"
REMEDY = "Train again: graft finetune RUN --force"


class Epoch(Record):
    """The figures of one epoch; epoch 0 is the linear head on the frozen backbone.

    Attributes:
        epoch: Number of the epoch.
        train_loss: Mean training loss in nats, with smoothing and class weights; None for epoch 0.
        validation_loss: Mean loss on validation after calibration, in nats, without class weights.
        validation_accuracy: Share of right answers on validation, in [0, 1].
        samples_per_s: Speed of training, in samples a second; None for epoch 0.
    """

    epoch: int
    train_loss: float | None
    validation_loss: float
    validation_accuracy: float
    samples_per_s: float | None


class HeadRecord(Record):
    """How the linear head was trained.

    Attributes:
        penalty: The L2 penalty on its weights.
    """

    penalty: float


class History(VersionedRecord):
    """How a checkpoint came to be.

    Attributes:
        settings: Device, precision and threads of the training, and why they were chosen.
        class_weights: The weight of each class in the loss, in the order of the labels; None for equal ones.
        head: How the linear head was trained.
        best_epoch: The epoch whose weights were kept.
        epochs: The figures of each epoch, from epoch 0 on.
    """

    settings: Settings
    class_weights: tuple[float, ...] | None
    head: HeadRecord
    best_epoch: int
    epochs: tuple[Epoch, ...]


def write_history(folder: Path, history: History) -> None:
    """Write the record of a training into the checkpoint's folder."""
    write_record(folder / HISTORY_FILE, history)


def read_history(folder: Path) -> History:
    """Read the record of a training from the checkpoint's folder.

    Raises:
        GraftError: The file does not hold it; the message names the remedy.
    """
    return read_record(folder / HISTORY_FILE, History, REMEDY)
