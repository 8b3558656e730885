"""The training loop: AdamW, a cosine schedule with warm-up, and the best epoch by validation loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.history import Epoch
from pipeline.errors import GraftError
from pipeline.finetune.batches import bucketed, shuffled
from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.modalities.inference import compute_logits
from pipeline.modalities.training import ParameterGroup
from pipeline.reporting.progress import track

log = logging.getLogger("graft")
# Parameters from which the fused optimiser pays: on 22 million a step takes 17 ms instead of 70 to 140, on 4
# million it saves next to nothing.
FUSED_FROM = 10_000_000


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        state: The weights of the best epoch, on the CPU, by their names.
        validation_logits: Logits of the best epoch on validation, float32 of shape (samples, classes).
        best_epoch: Number of the best epoch; 0 is the untouched start.
        epochs: The figures of all epochs, from epoch 0 on.
    """

    state: dict[str, torch.Tensor]
    validation_logits: NDArray[np.float32]
    best_epoch: int
    epochs: tuple[Epoch, ...]


def train(prepared: Prepared, plan: Plan, strategy: Strategy) -> Outcome:
    """Train a classifier and keep its best epoch by validation loss, the untouched start included.

    Args:
        prepared: The classifier, which is changed in place, and the samples.
        plan: The plan of the training.
        strategy: The strategy, which says what trains, at which rate, and when.

    Raises:
        GraftError: The training loss is no longer a number.
    """
    prepared.classifier.saved().to(plan.device)
    prepared.classifier.prepare()
    best = Outcome(
        _copy_state(prepared), prepared.start_logits, 0, (_judge(prepared, prepared.start_logits),)
    )
    groups = strategy.parameter_groups(prepared.classifier, plan)
    if not groups:
        return best
    training = Training(prepared, plan, strategy, groups)
    for number in range(1, plan.epochs + 1):
        start = time.perf_counter()
        loss = training.run_epoch(number)
        speed = training.steps * min(plan.batch_size, len(prepared.train)) / (time.perf_counter() - start)
        logits = _compute_logits(prepared, plan)
        epoch = _judge(prepared, logits, number, loss, speed)
        better = epoch.validation_loss < best.epochs[best.best_epoch].validation_loss
        kept = Outcome(_copy_state(prepared), logits, number, best.epochs) if better else best
        best = replace(kept, epochs=(*best.epochs, epoch))
    return best


class Training:
    """The state of a training between its epochs: optimiser, schedule and source of chance.

    Args:
        prepared: The classifier, on the plan's device, and the samples.
        plan: The plan of the training.
        strategy: The strategy, which sets the modes of the modules before each epoch.
        groups: The groups of parameters that train, each with its rate.
    """

    def __init__(
        self, prepared: Prepared, plan: Plan, strategy: Strategy, groups: list[ParameterGroup]
    ) -> None:
        self.prepared = prepared
        self.plan = plan
        self.strategy = strategy
        self.steps = max(1, len(prepared.train) // plan.batch_size)
        self.generator = torch.Generator().manual_seed(plan.seed)
        weights = prepared.class_weights
        self.class_weights = None if weights is None else torch.from_numpy(weights).to(plan.device)
        parameters = prepared.classifier.saved().parameters()
        fused = sum(parameter.numel() for parameter in parameters) >= FUSED_FROM
        self.optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, fused=fused)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, warmup_cosine(plan.warmup, self.steps * plan.epochs)
        )

    def run_epoch(self, number: int) -> float:
        """Pass over the training split once, and return the mean loss of its batches, in nats.

        Args:
            number: Number of the epoch, from 1.

        Raises:
            GraftError: The loss is no longer a number.
        """
        plan, title = self.plan, f"epoch {number} of {self.plan.epochs}"
        self.strategy.start_epoch(self.prepared.classifier, plan, number)
        batches = self._batches()
        losses = [
            self._step(indices)
            for indices in track(
                batches,
                total=len(batches) * plan.batch_size,
                what=title,
                unit=self.prepared.unit,
                weight=plan.batch_size,
            )
        ]
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise GraftError(
                f"{title}: the training loss is no longer a number."
                f" Lower finetune.learning_rate (now {plan.learning_rate:g})."
            )
        return mean

    def _batches(self) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch, each the indices of its samples."""
        examples, size = self.prepared.train.examples, self.plan.batch_size
        lengths = examples.lengths() if self.plan.batch_by_length else None
        if lengths is None:
            return shuffled(len(examples), size, self.generator)
        return bucketed(lengths, size, self.generator)

    def _step(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Update the weights by one batch, and return its loss without the graph behind it."""
        self.optimizer.zero_grad()
        loss = self._loss(indices)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()

    def _loss(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Return the loss of one batch, a scalar in nats."""
        plan, train = self.plan, self.prepared.train
        batch = train.examples.batch(indices, plan.device, self.generator)
        targets = torch.from_numpy(train.targets[indices]).to(plan.device)
        with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
            logits = self.prepared.classifier(**batch)
        return self.prepared.task.loss(
            logits.float(), targets, class_weights=self.class_weights, label_smoothing=plan.label_smoothing
        )


def _compute_logits(prepared: Prepared, plan: Plan) -> NDArray[np.float32]:
    """Return the classifier's logits on validation, in fp32 and evaluation mode."""
    examples = prepared.validation.examples
    return compute_logits(prepared.classifier, examples, plan.device, "validation", prepared.unit)


def _copy_state(prepared: Prepared) -> dict[str, torch.Tensor]:
    """Return a copy of the classifier's weights, on the CPU."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in prepared.classifier.saved().state_dict().items()
    }


def _judge(
    prepared: Prepared,
    logits: NDArray[np.float32],
    number: int = 0,
    loss: float | None = None,
    speed: float | None = None,
) -> Epoch:
    """Measure an epoch on validation, and log it.

    Args:
        prepared: The classifier and the samples.
        logits: The epoch's logits on validation, float32 of shape (samples, classes).
        number: Number of the epoch; 0, the default, for the untouched start.
        loss: Mean training loss of the epoch, in nats; None, the default, for the untouched start.
        speed: Training samples in a second; None, the default, for the untouched start.
    """
    task, targets = prepared.task, prepared.validation.targets
    right = task.answers(task.probabilities(logits)) == targets
    epoch = Epoch(
        epoch=number,
        train_loss=loss,
        validation_loss=task.loss(torch.from_numpy(logits), torch.from_numpy(targets)).item(),
        validation_accuracy=torch.from_numpy(right).float().mean().item(),
        samples_per_s=speed,
    )
    trained = "the head alone" if loss is None else f"training loss {loss:.3f}, {speed:.1f} {prepared.unit}/s"
    log.info(
        "epoch %d: %s; validation loss %.3f, accuracy %.3f",
        number,
        trained,
        epoch.validation_loss,
        epoch.validation_accuracy,
    )
    return epoch


def warmup_cosine(warmup: float, steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at each step.

    It rises linearly over the first share of the steps and then falls along a half cosine to 0
    (arXiv:1608.03983).

    Args:
        warmup: Share of the steps in which the rate rises, in [0, 1).
        steps: Number of steps of the whole training.
    """
    rising = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor
