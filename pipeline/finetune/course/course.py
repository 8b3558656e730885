"""The course of a training: all that changes from epoch to epoch, to be kept and gone on from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.artifacts.history import Epoch
from pipeline.errors import GraftError
from pipeline.finetune.course.epochs import EpochRecorder, Trained
from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.keep.keeping import Kept, candidate_of, candidate_state
from pipeline.finetune.keep.selection import select
from pipeline.finetune.keep.soup import cook
from pipeline.finetune.plan import Plan
from pipeline.finetune.resuming.stopping import Stops
from pipeline.finetune.resuming.tree import copied
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.sharing import check_weights
from pipeline.finetune.steps.training import DivergedError, Training
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.reporting.progress import in_words

log = logging.getLogger("graft")
# What is left of the learning rate after the loss has run away, and how often that is tried.
SLOWER = 0.5
MOST_SLOWED = 2
# Number of training samples that show whether the last steps of an epoch have ruined the weights.
LOOKED_AT = 32
# Schedules that end at a rate of next to nothing, so that their last epoch is the one to keep.
ANNEALED = frozenset({"cosine", "linear", "one-cycle", "step"})


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        kept: What is kept: never worse on validation than the head on the frozen backbone.
        epochs: The figures of all epochs, from epoch 0, the head, on.
    """

    kept: Candidate
    epochs: tuple[Epoch, ...]

    def state(self, prepared: Prepared) -> dict[str, Any]:
        """Return the outcome as JSON values and tensors; the head on the frozen backbone by its name alone.

        Args:
            prepared: What the training started from.
        """
        kept = None if self.kept is prepared.floor else candidate_state(self.kept)
        return {"kept": kept, "epochs": [epoch.model_dump(mode="json") for epoch in self.epochs]}

    @classmethod
    def of(cls, state: Mapping[str, Any], prepared: Prepared) -> Outcome:
        """Return the outcome of a state that :meth:`state` returned."""
        kept = state["kept"]
        candidate = prepared.floor if kept is None else candidate_of(kept, prepared)
        return cls(candidate, tuple(Epoch.model_validate(epoch) for epoch in state["epochs"]))


class Course:
    """A training with what is held of its epochs.

    Args:
        prepared: What the training starts from, which is not changed.
        plan: The plan of the training.
        strategy: The strategy, which says what trains, at which rate, and when.
    """

    def __init__(self, prepared: Prepared, plan: Plan, strategy: Strategy) -> None:
        self.prepared = prepared
        self.plan = plan
        self.strategy = strategy
        self.training = Training(prepared, plan, strategy)
        self.kept = Kept(prepared, plan)
        self.recorder = EpochRecorder(prepared, plan.device)
        self.records = [self.recorder.record_head()]
        self.last: Candidate | None = None
        self.slowed = 0
        self.seconds = 0.0  # those of the epochs that are done, in this process or another
        self.is_over = not self.training.groups

    @property
    def epoch(self) -> int:
        """The number of the epoch that is under way or comes next, from 1."""
        return len(self.records)

    def run_epoch(self, stops: Stops, after_step: Callable[[], None] = lambda: None) -> None:
        """Train for one epoch, or what is left of it, and judge it.

        Args:
            stops: The signals that are held back; they interrupt validation, which changes nothing.
            after_step: Called after each step; what it raises ends the epoch there.

        Raises:
            DivergedError: The loss is no longer a number, or far above what it was at the start.
        """
        number, start, training = self.epoch, time.perf_counter(), self.training
        before = len(training.epoch_losses)
        loss = training.run_epoch(number, after_step=after_step, title=self._title())
        share = (len(training.epoch_losses) - before) / len(training.epoch_losses)
        speed = share * len(self.prepared.train) / (time.perf_counter() - start)
        check_weights(training.classifier.saved(), self.prepared.processes)
        with stops.at_once():
            training.check_weights(self.recorder.measure_seen_loss(training.classifier, LOOKED_AT))
        with training.judged_weights():
            with stops.at_once():
                logits = training.compute_validation_logits()
                seen_loss = self.recorder.measure_seen_loss(training.classifier)
            state = self.strategy.state(training.classifier)
        if not np.isfinite(logits).all():
            raise DivergedError("the answers on validation are no longer numbers")
        judged = judge(self.prepared.task, logits, self.prepared.validation.targets)
        self.last = Candidate(f"epoch {number}", number, state, logits, judged)
        trained = Trained(loss, seen_loss, speed)
        self.records.append(self.recorder.record(self.last, self.kept.epochs[:1], trained))
        self.kept.add(self.last)
        training.schedule.end_epoch(judged.loss)
        training.end_epoch()
        self.seconds += time.perf_counter() - start
        self.is_over = number >= self.plan.epochs or self.kept.is_over(number)
        self._tell()

    def go_back(self, boundary: Mapping[str, Any], reason: DivergedError) -> None:
        """Go back to the start of the epoch, at half the learning rate.

        Args:
            boundary: The state at the start of the epoch.
            reason: How the loss ran away.

        Raises:
            GraftError: That has been done twice, or the first step already had no loss.
        """
        number, rate = self.epoch, self.plan.rates.learning_rate
        where = f"epoch {number} of {self.plan.epochs}"
        if self.training.first_loss is not None and not math.isfinite(self.training.first_loss):
            raise GraftError(
                f"{where}: the loss of the first step, before anything has trained, is not a number."
                " The weights of backbone.weights or the samples hold values that are none, or too large for"
                " finetune.precision: set it to fp32, or take other weights."
            )
        slowed = self.slowed + 1
        if slowed > MOST_SLOWED:
            raise GraftError(
                f"{where}: {reason}, also at a quarter of the learning rate."
                f" Lower finetune.learning_rate (now {rate:g}); `graft rates` finds one that suits."
            )
        self.restore(boundary)
        self.slowed = slowed
        self.training.schedule.slow_down(SLOWER)
        log.warning(
            "%s: %s; back to the start of the epoch, at %g of the learning rate (finetune.learning_rate: %g)",
            where,
            reason,
            SLOWER**slowed,
            rate,
        )

    def result(self) -> Outcome:
        """Return the result of a training that is over."""
        if self.last is None:
            return Outcome(self.kept.best, tuple(self.records))
        if self.plan.keeping.soup:
            kept = cook(self.prepared, self.plan, self.kept.epochs)
        else:
            best = self.kept.epochs[0]
            kept = select(self.prepared, self.plan, self.last if self._ends_calmly() else best, best)
        return Outcome(kept, tuple(self.records))

    def _ends_calmly(self) -> bool:
        """Say whether the schedule has run down, and not been cut short, so that its end deserves trust."""
        return self.plan.rates.schedule in ANNEALED and len(self.records) > self.plan.epochs

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on, as JSON values and tensors, not copied."""
        return {
            "training": self.training.state(),
            "kept": self.kept.state(),
            "records": [epoch.model_dump(mode="json") for epoch in self.records],
            "slowed": self.slowed,
            "seconds": self.seconds,
        }

    def copied_state(self) -> dict[str, Any]:
        """Return the same, with copies on the CPU of what further steps change."""
        state = self.state()
        return {**state, "training": copied(state["training"])}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state` returned."""
        self.training.restore(state["training"])
        self.kept.restore(state["kept"])
        self.records = [Epoch.model_validate(epoch) for epoch in state["records"]]
        self.slowed, self.seconds = state["slowed"], state["seconds"]

    def where(self) -> str:
        """Return where the training is, for people."""
        steps = len(self.training.epoch_losses)
        where = f"epoch {self.epoch} of {self.plan.epochs}"
        return f"{where}, after step {steps}" if steps else f"{where}, at its start"

    def _title(self) -> str:
        """Return what the progress says of the epoch under way: its number, and the best so far."""
        title = f"epoch {self.epoch} of {self.plan.epochs}"
        if not self.kept.epochs:
            return title
        best = self.kept.best
        return f"{title} (best so far: {best.name}, accuracy {best.judged.accuracy:.3f})"

    def _tell(self) -> None:
        """Log the best so far and the time left, after an epoch."""
        done, best = self.epoch - 1, self.kept.best
        left = (self.plan.epochs - done) * self.seconds / done
        log.info(
            "%d of %d epochs done; best so far: %s, validation loss %.3f, accuracy %.3f%s",
            done,
            self.plan.epochs,
            best.name,
            best.judged.loss,
            best.judged.accuracy,
            "" if self.is_over else f"; about {in_words(left)} left",
        )
