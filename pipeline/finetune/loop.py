"""The training loop: epoch by epoch, and what is kept of it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from pipeline.artifacts.history import Epoch
from pipeline.finetune.candidates import Candidate
from pipeline.finetune.judging import judge
from pipeline.finetune.keeping import Kept
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.finetune.selection import select
from pipeline.finetune.sharing import check_weights
from pipeline.finetune.soup import cook
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.finetune.training import Training

log = logging.getLogger("graft")


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        kept: What is kept: never worse on validation than the head on the frozen backbone.
        epochs: The figures of all epochs, from epoch 0, the head, on.
    """

    kept: Candidate
    epochs: tuple[Epoch, ...]


def train(prepared: Prepared, plan: Plan, strategy: Strategy) -> Outcome:
    """Train a classifier, and keep the weights that validation does not speak against.

    Args:
        prepared: What the training starts from, which is not changed.
        plan: The plan of the training.
        strategy: The strategy, which says what trains, at which rate, and when.

    Raises:
        GraftError: The training loss is no longer a number, or the backbone cannot be trained in this way.
    """
    kept = Kept(prepared, plan)
    epochs = [_record(prepared, kept.best)]
    training = Training(prepared, plan, strategy)
    if not training.groups:
        return Outcome(kept.best, tuple(epochs))
    for number in range(1, plan.epochs + 1):
        start = time.perf_counter()
        loss = training.run_epoch(number)
        speed = len(prepared.train) / (time.perf_counter() - start)
        check_weights(training.classifier.saved(), prepared.processes)
        with training.judged_weights():
            logits, state = training.compute_validation_logits(), strategy.state(training.classifier)
        judged = judge(prepared.task, logits, prepared.validation.targets)
        candidate = Candidate(f"epoch {number}", number, state, logits, judged)
        kept.add(candidate)
        epochs.append(_record(prepared, candidate, loss, speed))
        training.schedule.end_epoch(judged.loss)
        if kept.is_over(number):
            break
    if plan.keeping.soup:
        return Outcome(cook(prepared, plan, kept.epochs), tuple(epochs))
    return Outcome(select(prepared, plan, candidate, kept.epochs[0]), tuple(epochs))


def _record(
    prepared: Prepared, candidate: Candidate, loss: float | None = None, speed: float | None = None
) -> Epoch:
    """Return the figures of an epoch, and log them.

    Args:
        prepared: The samples.
        candidate: The weights and their answers on validation.
        loss: Mean training loss of the epoch, in nats; None, the default, for the head.
        speed: Training samples in a second; None, the default, for the head.
    """
    epoch = Epoch(
        epoch=candidate.epoch,
        train_loss=loss,
        validation_loss=candidate.judged.loss,
        validation_accuracy=candidate.judged.accuracy,
        samples_per_s=speed,
    )
    trained = "the head alone" if loss is None else f"training loss {loss:.3f}, {speed:.1f} {prepared.unit}/s"
    log.info(
        "epoch %d: %s; validation loss %.3f, accuracy %.3f",
        epoch.epoch,
        trained,
        epoch.validation_loss,
        epoch.validation_accuracy,
    )
    return epoch
