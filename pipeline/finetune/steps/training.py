"""The state of a training between its steps, and what a step does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.plan import Plan
from pipeline.finetune.resuming.chance import chance_state, restore_chance
from pipeline.finetune.resuming.optimizer import optimizer_state, restore_optimizer
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.averaging import WeightAverage
from pipeline.finetune.steps.batches import Batches, balanced, bucketed, shuffled
from pipeline.finetune.steps.objective import BatchLoss
from pipeline.finetune.steps.schedule import Schedule
from pipeline.finetune.steps.sharing import align, backpropagate, own_chance
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.modalities.inference import compute_logits
from pipeline.reporting.progress import track

# Parameters from which the fused optimiser pays: on 22 million a step takes 17 ms instead of 70 to 140, on 4
# million it saves next to nothing.
FUSED_FROM = 10_000_000
# The loss is looked at every so many steps: on an accelerator each look waits for all that is under way.
CHECK_EVERY = 20
# Surely wrong answers cost some times as much as guessing; above that the weights have run away.
DIVERGED_FACTOR = 10.0
# The same of a loss after calibration, which makes up for all but the largest errors.
RUINED_FACTOR = 3.0


class DivergedError(Exception):
    """A training whose loss has run away; the message says how."""


class Training:
    """The state of a training between its steps: weights, optimiser, schedule and source of chance.

    Args:
        prepared: What the training starts from; its classifier is copied.
        plan: The plan of the training.
        strategy: The strategy, which says what trains, at which rate, and when.
    """

    def __init__(self, prepared: Prepared, plan: Plan, strategy: Strategy) -> None:
        self.prepared = prepared
        self.plan = plan
        self.strategy = strategy
        self.classifier = copy.deepcopy(prepared.classifier)
        strategy.begin(self.classifier, prepared, plan)
        module = self.classifier.saved().to(plan.device)
        self.classifier.prepare()
        align(module, plan, prepared.processes)
        steps = plan.steps(len(prepared.train))
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.loss = BatchLoss(prepared, self.classifier, plan, self.generator)
        self.groups = strategy.parameter_groups(self.classifier, plan)
        fused = sum(parameter.numel() for parameter in module.parameters()) >= FUSED_FROM
        if self.groups:
            self.optimizer = torch.optim.AdamW(self.groups, lr=plan.rates.learning_rate, fused=fused)
            self.schedule = Schedule(self.optimizer, plan.rates, plan.epochs, steps)
        self.trained = [parameter for group in self.groups for parameter in group["params"]]
        self.average = WeightAverage(module, self.trained, steps) if plan.keeping.ema else None
        self.epoch_losses: list[torch.Tensor] = []
        self.first_loss: float | None = None
        self.epoch_start = self.generator.get_state()

    def run_epoch(
        self, number: int, *, after_step: Callable[[], None] = lambda: None, title: str | None = None
    ) -> float:
        """Pass over the training split once, and return the mean loss of its batches, in nats.

        An epoch that :meth:`restore` went back into goes on after the steps that are done.

        Args:
            number: Number of the epoch, from 1.
            after_step: Called after each step; what it raises ends the epoch there.
            title: What the progress says; None, the default, for the epoch's number.

        Raises:
            DivergedError: The loss is no longer a number, or far above what it was at the start.
        """
        self.strategy.start_epoch(self.classifier, self.plan, number)
        title = title or f"epoch {number} of {self.plan.epochs}"
        for indices in self._tracked(self._remaining(), title, number):
            self.epoch_losses.append(self._step(indices))
            self.first_loss = self.epoch_losses[0].item() if self.first_loss is None else self.first_loss
            if len(self.epoch_losses) % CHECK_EVERY == 0:
                self.check()
            after_step()
        self.check()
        return torch.stack(self.epoch_losses).mean().item()

    def end_epoch(self) -> None:
        """Take note that an epoch is over, and its validation too."""
        self.epoch_losses = []

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            DivergedError: Their mean is no number, or many times the loss of the first step, or of guessing
                where that is higher.
        """
        recent = self.epoch_losses[(len(self.epoch_losses) - 1) // CHECK_EVERY * CHECK_EVERY :]
        mean, guessing = torch.stack(recent).mean().item(), math.log(len(self.prepared.best_head.bias))
        if not math.isfinite(mean):
            raise DivergedError("the training loss is no longer a number")
        if mean > DIVERGED_FACTOR * max(self.first_loss or 0.0, guessing):
            raise DivergedError(f"the training loss has risen from {self.first_loss:.3g} to {mean:.3g}")

    def check_weights(self, loss: float) -> None:
        """Look at a loss that the weights have after the last step, whose own is from before it.

        Args:
            loss: Calibrated loss on some training samples, in nats.

        Raises:
            DivergedError: It is no number, or far above that of guessing.
        """
        guessing = math.log(len(self.prepared.best_head.bias))
        if not loss <= RUINED_FACTOR * guessing:
            raise DivergedError(f"the training loss has risen to {loss:.3g}, and guessing has {guessing:.3g}")

    def state(self) -> Mapping[str, Any]:
        """Return all that the next steps depend on; its tensors are the training's own, not copies.

        What does not train is left out: it is the same in every training that begins alike.
        """
        return {
            "weights": self._weights(),
            "optimizer": optimizer_state(self.optimizer),
            "schedule": self.schedule.state(),
            "average": None if self.average is None else self.average.state(),
            "epoch_start": self.epoch_start,
            "generator": self.generator.get_state(),
            "chance": chance_state(),
            "losses": torch.stack(self.epoch_losses) if self.epoch_losses else torch.zeros(0),
            "first_loss": self.first_loss,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state` returned, of a training that began in the same way."""
        with torch.no_grad():
            for name, value in self._weights().items():
                value.copy_(state["weights"][name])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.schedule.restore(state["schedule"])
        if self.average is not None:
            self.average.restore(state["average"])
        self.epoch_start = state["epoch_start"]
        self.generator.set_state(state["generator"])
        self.epoch_losses = list(state["losses"].to(self.plan.device).unbind())
        self.first_loss = state["first_loss"]
        restore_chance(state["chance"])

    def _weights(self) -> dict[str, torch.Tensor]:
        """Return the parameters that train at some time and all buffers, by their names."""
        module, chosen = self.classifier.saved(), {id(parameter) for parameter in self.trained}
        parameters = {name: value for name, value in module.named_parameters() if id(value) in chosen}
        return parameters | dict(module.named_buffers())

    def _remaining(self) -> Batches:
        """Return the batches of the epoch that are still to come.

        The batches of an epoch that was interrupted are drawn again from the state that chance had at its
        start; those that are done are left out without drawing what their steps drew, and then chance is
        what it was after the last step.
        """
        if not self.epoch_losses:
            self.epoch_start = self.generator.get_state()
            return self._batches()
        now = self.generator.get_state()
        self.generator.set_state(self.epoch_start)
        batches = self._batches()
        self.generator.set_state(now)
        return batches[len(self.epoch_losses) :]

    def _tracked(self, batches: Batches, title: str, number: int) -> Iterator[NDArray[np.int64]]:
        """Yield batches, and show how far the epoch and the whole training are."""
        left, size = sum(map(len, batches)), len(self.prepared.train)
        return track(
            batches,
            total=left,
            what=title,
            unit=self.prepared.unit,
            weight=self.plan.batch_size,
            later=size * (self.plan.epochs - number),
        )

    def compute_validation_logits(self) -> NDArray[np.float32]:
        """Return the logits on validation, in fp32: float32 of shape (samples, classes)."""
        prepared = self.prepared
        examples, unit, processes = prepared.validation.examples, prepared.unit, prepared.processes
        return compute_logits(self.classifier, examples, self.plan.device, "validation", unit, processes)

    def losses(self) -> Iterator[float]:
        """Train on and on with all that trains in the last epoch, and yield each step's loss, in nats."""
        while True:
            self.strategy.start_epoch(self.classifier, self.plan, self.plan.epochs)
            yield from (self._step(indices).item() for indices in self._batches())

    def judged_weights(self) -> AbstractContextManager[None]:
        """Return a block within which the classifier has the weights to judge and keep: their average."""
        return nullcontext() if self.average is None else self.average.applied()

    def _batches(self) -> Batches:
        """Return the batches of an epoch, each the indices of its samples."""
        train, size = self.prepared.train, self.plan.batch_size
        lengths = train.examples.lengths() if self.plan.batch_by_length else None
        drawn = np.arange(len(train))
        if self.plan.balanced_sampling:
            drawn = balanced(train.targets, self.generator)
        if lengths is None:
            batches = shuffled(len(drawn), size, self.generator)
        else:
            batches = bucketed(lengths[drawn], size, self.generator)
        return [drawn[batch] for batch in batches]

    def _step(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Update the weights by one batch, and return its loss without the graph behind it."""
        self.optimizer.zero_grad()
        groups, processes = self.optimizer.param_groups, self.prepared.processes
        chance = own_chance(self.generator, len(self.epoch_losses), self.plan.device, processes)
        loss = backpropagate(lambda: self.loss(indices), groups, chance, processes)
        if self.plan.rates.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.plan.rates.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        return loss
