"""The state of a training between its steps, and what a step does."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.finetune.averaging import WeightAverage
from pipeline.finetune.batches import Batches, balanced, bucketed, shuffled
from pipeline.finetune.objective import BatchLoss
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.finetune.schedule import Schedule
from pipeline.finetune.sharing import align, backpropagate
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.modalities.inference import compute_logits
from pipeline.reporting.progress import track

# Parameters from which the fused optimiser pays: on 22 million a step takes 17 ms instead of 70 to 140, on 4
# million it saves next to nothing.
FUSED_FROM = 10_000_000


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
        self.steps = math.ceil(len(prepared.train) / plan.batch_size)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.loss = BatchLoss(prepared, self.classifier, plan, self.generator)
        self.groups = strategy.parameter_groups(self.classifier, plan)
        fused = sum(parameter.numel() for parameter in module.parameters()) >= FUSED_FROM
        if self.groups:
            self.optimizer = torch.optim.AdamW(self.groups, lr=plan.rates.learning_rate, fused=fused)
            self.schedule = Schedule(self.optimizer, plan.rates, plan.epochs, self.steps * plan.epochs)
        self.trained = [parameter for group in self.groups for parameter in group["params"]]
        self.average = (
            WeightAverage(module, self.trained, self.steps * plan.epochs) if plan.keeping.ema else None
        )

    def run_epoch(self, number: int) -> float:
        """Pass over the training split once, and return the mean loss of its batches, in nats.

        Args:
            number: Number of the epoch, from 1.

        Raises:
            GraftError: The loss is no longer a number.
        """
        plan, title = self.plan, f"epoch {number} of {self.plan.epochs}"
        self.strategy.start_epoch(self.classifier, plan, number)
        batches = self._batches()
        losses = [
            self._step(indices)
            for indices in track(
                batches,
                total=len(self.prepared.train),
                what=title,
                unit=self.prepared.unit,
                weight=plan.batch_size,
            )
        ]
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise GraftError(
                f"{title}: the training loss is no longer a number."
                f" Lower finetune.learning_rate (now {plan.rates.learning_rate:g});"
                " `graft rates` finds one that suits."
            )
        return mean

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
        loss = backpropagate(lambda: self.loss(indices), groups, self.generator, processes)
        if self.plan.rates.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.plan.rates.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        return loss
