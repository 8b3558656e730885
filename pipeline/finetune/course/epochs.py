"""The figures of an epoch: on validation, and on training samples that are measured in the same way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.history import Epoch, LeadRecord
from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import judge, lead
from pipeline.finetune.start.prepared import Prepared, spread
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Batch, Classifier, Examples

log = logging.getLogger("graft")

# A pass over a sample without its gradients takes a third of a training step: of three tenths of the training
# split that is a tenth of an epoch. Of few samples more are taken, since they cost next to nothing.
SHARE_SEEN, LEAST_SEEN, MOST_SEEN = 0.3, 100, 2000


@dataclass(frozen=True)
class Chosen:
    """Some of the samples of a split, without random changes.

    Attributes:
        examples: All samples of the split.
        indices: Indices of the chosen ones, int64 of shape (samples,).
    """

    examples: Examples
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of chosen samples."""
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the decoded array of one of them."""
        return self.examples[int(self.indices[index])]

    def lengths(self) -> NDArray[np.int64] | None:
        """Return the length of each array, int64 of shape (samples,); None where all are equally long."""
        lengths = self.examples.lengths()
        return None if lengths is None else lengths[self.indices]

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the model's inputs for some of them, as :meth:`Examples.batch` does."""
        return self.examples.batch(self.indices[indices], device, generator)


@dataclass(frozen=True)
class Trained:
    """What an epoch's training measured.

    Attributes:
        loss: Mean loss of the batches, in nats, with smoothing and class weights.
        seen_loss: Mean loss on some training samples, measured as that on validation is, in nats.
        samples_per_s: Speed, in training samples a second.
    """

    loss: float
    seen_loss: float
    samples_per_s: float


class EpochRecorder:
    """Makes the records of epochs, and logs them. It holds nothing that changes from epoch to epoch.

    Args:
        prepared: What the training starts from.
        device: torch's name of the device that the classifier is on.
    """

    def __init__(self, prepared: Prepared, device: str) -> None:
        self.prepared = prepared
        self.device = device
        train = prepared.train
        count = min(len(prepared.validation), MOST_SEEN, max(LEAST_SEEN, round(SHARE_SEEN * len(train))))
        self.chosen = spread(train.targets, count)

    def record_head(self) -> Epoch:
        """Return the record of epoch 0, the head on the frozen backbone."""
        return self._record(self.prepared.floor, self.prepared.floor.name)

    def record(self, candidate: Candidate, best_before: Sequence[Candidate], trained: Trained) -> Epoch:
        """Return the record of a trained epoch.

        Args:
            candidate: The epoch's weights and their answers on validation.
            best_before: The best of the trained epochs before; empty for the first.
            trained: What its training measured.
        """
        unit = self.prepared.unit
        told = (
            f"training loss {trained.loss:.3f} ({trained.seen_loss:.3f} measured as on validation),"
            f" {trained.samples_per_s:.1f} {unit}/s"
        )
        return self._record(candidate, told).model_copy(
            update={
                "train_loss": trained.loss,
                "seen_loss": trained.seen_loss,
                "samples_per_s": trained.samples_per_s,
                "over_head": _lead_of(candidate, self.prepared.floor),
                "over_best": _lead_of(candidate, best_before[0]) if best_before else None,
            }
        )

    def measure_seen_loss(self, classifier: Classifier, most: int | None = None) -> float:
        """Return the loss on some training samples in nats, measured as that on validation is.

        The loss of the batches cannot stand beside that on validation: smoothing, mixup and random changes
        raise it, and it is of the weights of many steps.

        Args:
            classifier: The classifier, with the weights that are judged.
            most: Number of samples at most; None, the default, for all that were chosen.
        """
        chosen = self.chosen[:most]
        prepared, train = self.prepared, self.prepared.train
        examples = Chosen(train.examples, chosen)
        unit, processes = prepared.unit, prepared.processes
        logits = compute_logits(classifier, examples, self.device, "training samples", unit, processes)
        return judge(prepared.task, logits, train.targets[chosen], len(prepared.validation)).loss

    def _record(self, candidate: Candidate, told: str) -> Epoch:
        """Log and return the figures of validation."""
        judged = candidate.judged
        log.info(
            "epoch %d: %s; validation loss %.3f, accuracy %.3f",
            candidate.epoch,
            told,
            judged.loss,
            judged.accuracy,
        )
        return Epoch(
            epoch=candidate.epoch,
            train_loss=None,
            validation_loss=judged.loss,
            validation_accuracy=judged.accuracy,
            samples_per_s=None,
        )


def best_of(trained: Sequence[Epoch]) -> Epoch:
    """Return the epoch with the lowest loss on validation; the first of equal ones."""
    return min(trained, key=lambda epoch: epoch.validation_loss)


def _lead_of(first: Candidate, second: Candidate) -> LeadRecord:
    ahead = lead(first.judged, second.judged)
    return LeadRecord(nats=ahead.nats, low=ahead.low, high=ahead.high)
