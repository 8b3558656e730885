"""The records of a comparison: each finished piece of work is a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.files.records import Record, VersionedRecord
from pipeline.finetune.keep.judging import Judged

DIGITS = 6


class Judgement(Record):
    """How good answers are, with what a paired comparison needs of each sample.

    Attributes:
        loss: Mean loss in nats, at the temperature that fits best.
        accuracy: Share of right answers, in [0, 1].
        temperature: What the logits were divided by.
        losses: Loss of each sample, in nats.
        answers: Class index of each answer.
    """

    loss: float
    accuracy: float
    temperature: float
    losses: tuple[float, ...]
    answers: tuple[int, ...]

    @classmethod
    def of(cls, judged: Judged, answers: NDArray[np.int64]) -> Judgement:
        """Return the record of a judgement.

        Args:
            judged: The judgement.
            answers: Class indices of the answers, int64 of shape (samples,).
        """
        return cls(
            loss=judged.loss,
            accuracy=judged.accuracy,
            temperature=judged.temperature,
            losses=tuple(np.round(judged.losses, DIGITS).tolist()),
            answers=tuple(answers.tolist()),
        )

    def judged(self) -> Judged:
        """Return the judgement as trainings compare it."""
        return Judged(self.loss, np.array(self.losses), self.accuracy, self.temperature)


def to_digits(right: NDArray[np.bool_]) -> str:
    """Return truth values as a text of ones and zeros."""
    return "".join("1" if value else "0" for value in right)


def from_digits(digits: str) -> NDArray[np.bool_]:
    """Return the truth values that a text of ones and zeros holds, of shape (samples,)."""
    return np.asarray(np.frombuffer(digits.encode(), np.uint8) == ord("1"))


class FoldFigures(Record):
    """The figures of each fold.

    Attributes:
        losses: Mean loss of each fold's samples, in nats.
        accuracies: Share of each fold's samples that was answered rightly.
        sizes: Number of samples of each fold.
    """

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    sizes: tuple[int, ...]


class Classic(VersionedRecord):
    """A classic model without transfer.

    Attributes:
        name: What was fitted, for people.
        validation: Its answers to validation, fitted on the training samples.
        balanced: The same answers with the classes balanced as the recipe's training balances them.
        folds: The figures of each fold; None where ten more fits would have taken too long.
        out_of_fold: The answers to all training samples, each by the model that was fitted without its fold;
            None with the folds.
    """

    name: str
    validation: Judgement
    balanced: tuple[int, ...]
    folds: FoldFigures | None = None
    out_of_fold: Judgement | None = None


class OwnOpponents(VersionedRecord):
    """What the fine-tuned backbone has to be better than of its own: answers to validation.

    Attributes:
        head: Class index of each answer of the best head on frozen features.
        scratch: The same of the network from random weights; None where it was not trained.
    """

    head: tuple[int, ...]
    scratch: tuple[int, ...] | None


class Probe(VersionedRecord):
    """The linear head on the features of one frozen backbone.

    Attributes:
        folds: The figures of each fold.
        out_of_fold: The answers to all training samples, each by the head that was fitted without its fold.
        validation: The answers to validation of the head that was fitted on all of these.
        penalty: The L2 penalty of the head that was judged on validation.
        features: Number of features.
        logme: Log of maximum evidence of the labels given the features, a sample and class; for information.
    """

    folds: FoldFigures
    out_of_fold: Judgement
    validation: Judgement
    penalty: float
    features: int
    logme: float


class Cost(VersionedRecord):
    """What a backbone with its head costs, as one exported ONNX file on one thread of this CPU.

    Attributes:
        ms: Median of the milliseconds that one sample takes.
        low_ms: Tenth percentile of these.
        high_ms: Ninetieth percentile of these.
        runs: Number of timed runs.
        parameters: Number of parameters.
        onnx_bytes: Size of the ONNX file.
        cpu: Name of the CPU.
    """

    ms: float
    low_ms: float
    high_ms: float
    runs: int
    parameters: int
    onnx_bytes: int
    cpu: str


class Tuned(VersionedRecord):
    """A short fine-tuning, judged on validation.

    Attributes:
        epochs: Number of epochs.
        kept: What was kept of it, for people.
        seconds: Seconds that it took in the process that ended it.
        validation: The answers to validation of what was kept.
    """

    epochs: int
    kept: str
    seconds: float
    validation: Judgement
