"""What is held of a training while it goes on, and when it ends early."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from pipeline.finetune.keep.candidates import Candidate, better
from pipeline.finetune.keep.judging import judge
from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared

log = logging.getLogger("graft")


class Kept:
    """The best epochs of a training, as many as the plan's soup asks for, and one at least.

    Args:
        prepared: The samples, and the head below which no training ends.
        plan: The plan of the training.
    """

    def __init__(self, prepared: Prepared, plan: Plan) -> None:
        self.prepared = prepared
        self.plan = plan
        self.epochs: tuple[Candidate, ...] = ()
        self.lowest = math.inf
        self.waited = 0

    @property
    def best(self) -> Candidate:
        """The best epoch, or the head on the frozen backbone if no epoch is better."""
        return better(self.prepared.floor, self.epochs[0]) if self.epochs else self.prepared.floor

    def add(self, candidate: Candidate) -> None:
        """Take note of an epoch, and hold its weights if it is among the best.

        Args:
            candidate: The epoch's weights and their answers on validation.
        """
        improves = candidate.judged.loss < self.lowest
        self.lowest = min(self.lowest, candidate.judged.loss)
        self.waited = 0 if improves else self.waited + 1
        ranked = sorted((*self.epochs, candidate), key=lambda epoch: epoch.judged.loss)
        self.epochs = tuple(ranked[: max(1, self.plan.keeping.soup)])

    def is_over(self, epoch: int) -> bool:
        """Say whether training ends, since validation has not improved for as many epochs as the plan waits.

        An improvement is one over the epochs before: a training that still gets better goes on, even where
        the head on the frozen backbone is better yet.

        Args:
            epoch: Number of the epoch that was added last.
        """
        patience = self.plan.keeping.patience
        if patience is None or self.waited < patience or epoch >= self.plan.epochs:
            return False
        log.info(
            "finetune: ends after epoch %d of %d, since validation has not improved after epoch %d"
            " (finetune.patience: %d)",
            epoch,
            self.plan.epochs,
            epoch - self.waited,
            patience,
        )
        return True

    def state(self) -> dict[str, Any]:
        """Return what is held: JSON values, and of each epoch its name, number, weights and logits."""
        epochs = [candidate_state(held) for held in self.epochs]
        return {"lowest": self.lowest, "waited": self.waited, "epochs": epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state` returned."""
        self.lowest, self.waited = state["lowest"], state["waited"]
        self.epochs = tuple(candidate_of(held, self.prepared) for held in state["epochs"])


def candidate_state(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as JSON values and tensors; how good it is follows from them."""
    return {
        "name": candidate.name,
        "epoch": candidate.epoch,
        "state": dict(candidate.state),
        "logits": candidate.logits,
    }


def candidate_of(state: Mapping[str, Any], prepared: Prepared) -> Candidate:
    """Return the candidate of a state."""
    judged = judge(prepared.task, state["logits"], prepared.validation.targets)
    return Candidate(**state, judged=judged)
