"""The table of a comparison: a line for each backbone."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.files.records import Record

Bounds = tuple[float, float]


class Row(Record):
    """A line of the table.

    Attributes:
        name: Name of the backbone, for people.
        is_own: Whether it is the recipe's own.
        because: Why it could not be measured, or goes no further, in one line; None where it was.
        probe_accuracy: Cross-validated accuracy of a linear head on frozen features.
        probe_interval: Its 95 % interval over the folds.
        probe_loss: Its cross-validated loss, in nats.
        validation_accuracy: Accuracy of that head on validation.
        tuned_epochs: Number of epochs of the longest fine-tuning; None where there was none.
        tuned_kept: What was kept of it, such as ``epoch 2``, or ``the best head`` where no epoch was better.
        tuned_accuracy: Accuracy of its result on validation.
        tuned_loss: Loss of its result on validation, in nats.
        ms: Median of the milliseconds a sample on one thread.
        ms_interval: The tenth and ninetieth percentile of these.
        parameters: Number of parameters.
        onnx_bytes: Size of the ONNX file.
        logme: LogME of the features; it decides nothing.
        logme_rank: Rank by it, from 1 for the largest.
    """

    name: str
    is_own: bool = False
    because: str | None = None
    probe_accuracy: float | None = None
    probe_interval: Bounds | None = None
    probe_loss: float | None = None
    validation_accuracy: float | None = None
    tuned_epochs: int | None = None
    tuned_kept: str | None = None
    tuned_accuracy: float | None = None
    tuned_loss: float | None = None
    ms: float | None = None
    ms_interval: Bounds | None = None
    parameters: int | None = None
    onnx_bytes: int | None = None
    logme: float | None = None
    logme_rank: int | None = None


def rank_by_logme(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows with their ranks by LogME, from 1 for the largest."""
    known = sorted((row.logme for row in rows if row.logme is not None), reverse=True)
    return tuple(
        row if row.logme is None else row.model_copy(update={"logme_rank": known.index(row.logme) + 1})
        for row in rows
    )
