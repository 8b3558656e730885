"""The training loop: epoch by epoch, and what is kept of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.artifacts.history import Epoch
from pipeline.finetune.candidates import Candidate
from pipeline.finetune.epochs import EpochRecorder, Trained
from pipeline.finetune.judging import judge
from pipeline.finetune.keeping import Kept
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.finetune.selection import select
from pipeline.finetune.sharing import check_weights
from pipeline.finetune.soup import cook
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.finetune.training import Training


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
    recorder = EpochRecorder(prepared, plan.device)
    epochs = [recorder.record_head()]
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
            seen_loss = recorder.measure_seen_loss(training.classifier)
        judged = judge(prepared.task, logits, prepared.validation.targets)
        candidate = Candidate(f"epoch {number}", number, state, logits, judged)
        epochs.append(recorder.record(candidate, kept.epochs[:1], Trained(loss, seen_loss, speed)))
        kept.add(candidate)
        training.schedule.end_epoch(judged.loss)
        if kept.is_over(number):
            break
    if plan.keeping.soup:
        return Outcome(cook(prepared, plan, kept.epochs), tuple(epochs))
    return Outcome(select(prepared, plan, candidate, kept.epochs[0]), tuple(epochs))
