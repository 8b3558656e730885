"""Test-time augmentation: measured on validation, and taught to the network that makes a single pass."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.history import LeadRecord, ViewsRecord
from pipeline.finetune.course.loop import train
from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import judge, lead
from pipeline.finetune.plan import Keeping, Objective, Plan
from pipeline.finetune.resuming.keeper import Keeper
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.strategies.full import Full
from pipeline.finetune.strategies.omission import set_omissions
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import Batch, Classifier, Examples, ParameterGroup, View, Views

log = logging.getLogger("graft")
EVERYTHING = Full(head_first=True)
# Epochs and learning rate of the teaching, as shares of those of the training: the network is to keep what it
# has learned.
EPOCHS_SHARE, RATE_SHARE = 0.2, 0.1


@dataclass(frozen=True)
class Viewed:
    """Samples of a split in one view.

    Attributes:
        examples: The samples.
        view: The view.
    """

    examples: Examples
    view: View

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.examples)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the decoded array of one sample, as it is without a view."""
        return self.examples[index]

    def lengths(self) -> NDArray[np.int64] | None:
        """Return the length of each array; None where all are equally long."""
        return self.examples.lengths()

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the model's inputs for some samples, in this view."""
        return self.view(self.examples.batch(indices, device, generator))


@dataclass(frozen=True)
class Continued:
    """A training of everything that goes on from the weights that the classifier has."""

    def begin(self, classifier: Classifier, prepared: Prepared, plan: Plan) -> None:  # noqa: ARG002
        """Leave the head, and set what is left out by chance."""
        set_omissions(classifier, plan)

    def parameter_groups(self, classifier: Classifier, plan: Plan) -> list[ParameterGroup]:
        """Return all parameters in groups, as a full training has them."""
        return EVERYTHING.parameter_groups(classifier, plan)

    def start_epoch(self, classifier: Classifier, plan: Plan, epoch: int) -> None:
        """Put all modules into training mode, as a full training does."""
        EVERYTHING.start_epoch(classifier, plan, epoch)

    def state(self, classifier: Classifier) -> Mapping[str, torch.Tensor]:
        """Return a copy of the weights, on the CPU."""
        return EVERYTHING.state(classifier)


def distill(
    prepared: Prepared, plan: Plan, kept: Candidate, views: Views, keeper: Keeper | None = None
) -> tuple[Candidate, ViewsRecord]:
    """Measure the average over several views on validation, and teach it to the network if it is better.

    The network is trained on, for a fifth of the epochs at a tenth of the rate, towards the average answers
    to the training samples (knowledge distillation, arXiv:1503.02531). What is served makes one pass.

    Args:
        prepared: The samples.
        plan: The plan of the training before.
        kept: What was kept of it.
        views: The views.
        keeper: Keeps checkpoints of the teaching; None, the default, keeps none.

    Returns:
        The taught network if it is better on validation, else ``kept``; and the record of the measurement.

    Raises:
        GraftError: A view cannot be had of these samples, or the loss is no longer a number.
    """
    classifier = copy.deepcopy(prepared.classifier)
    classifier.saved().load_state_dict(kept.state)
    averaged = average_views(prepared, plan, classifier, prepared.validation.examples, views)
    judged = judge(prepared.task, np.log(averaged), prepared.validation.targets)
    gain = lead(judged, kept.judged)
    record = ViewsRecord(
        views=views.what,
        gain=LeadRecord(nats=gain.nats, low=gain.low, high=gain.high),
        validation_loss=judged.loss,
        validation_accuracy=judged.accuracy,
        taught=False,
    )
    log.info("views: %s", told(record))
    if gain.nats <= 0:
        return kept, record
    taught = _teach(prepared, plan, kept, classifier, views, keeper)
    if taught.judged.loss >= kept.judged.loss:
        log.info("views: teaching them made the single pass no better, so that it stays as it was")
        return kept, record
    log.info("views: taught to the single pass; its validation loss is %.3f", taught.judged.loss)
    return taught, record.model_copy(update={"taught": True})


def told(record: ViewsRecord) -> str:
    """Return one sentence on what the average over several views is worth."""
    gain, is_better = record.gain, record.gain.nats > 0
    low, high = (gain.low, gain.high) if is_better else (-gain.high, -gain.low)
    return (
        f"averaged over {record.views}, answers on validation are {abs(gain.nats):.3f} nats"
        f" {'better' if is_better else 'worse'} (95 % interval {low:+.3f} to {high:+.3f})"
    )


def average_views(
    prepared: Prepared, plan: Plan, classifier: Classifier, examples: Examples, views: Views
) -> NDArray[np.float32]:
    """Return the mean of the probabilities over all views, float32 of shape (samples, classes), all above 0.

    Args:
        prepared: The task, and the samples' unit.
        plan: The plan, whose device computes.
        classifier: The network, which is on the CPU before and after.
        examples: The samples.
        views: The views.
    """
    module, unit, processes = classifier.saved().to(plan.device), prepared.unit, prepared.processes
    passes = [
        compute_logits(classifier, Viewed(examples, view), plan.device, f"view {number}", unit, processes)
        for number, view in enumerate(views.takes, 1)
    ]
    module.to("cpu")
    mean = np.mean([prepared.task.probabilities(logits) for logits in passes], axis=0)
    return np.asarray(np.clip(mean, np.finfo(np.float32).tiny, 1.0), np.float32)


def _teach(
    prepared: Prepared,
    plan: Plan,
    kept: Candidate,
    classifier: Classifier,
    views: Views,
    keeper: Keeper | None,
) -> Candidate:
    """Return the network after it was trained on towards its own average answers."""
    soft = average_views(prepared, plan, classifier, prepared.train.examples, views)
    pupil = replace(
        prepared,
        classifier=classifier,
        train=replace(prepared.train, soft=soft),
        floor=replace(kept, name="the untaught network", epoch=0),
        class_weights=None,  # they are in the answers that are taught
    )
    outcome = train(pupil, continued(plan), Continued(), keeper)
    return replace(outcome.kept, name=f"{kept.name}, taught by {views.what}", epoch=kept.epoch)


def continued(plan: Plan) -> Plan:
    """Return the plan of the teaching: short, at a low rate, with nothing else that changes the targets."""
    rates = replace(
        plan.rates, learning_rate=plan.rates.learning_rate * RATE_SHARE, schedule="cosine", warmup=0.1
    )
    return replace(
        plan,
        epochs=max(1, round(plan.epochs * EPOCHS_SHARE)),
        rates=rates,
        objective=Objective(),
        keeping=Keeping(),
        balanced_sampling=False,
    )
