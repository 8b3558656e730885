"""The objective of a batch: the task's own loss, with what the plan adds to it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.plan import Plan
from pipeline.finetune.start.prepared import Prepared, Split
from pipeline.finetune.steps.mixing import mix
from pipeline.finetune.steps.sharing import no_loss, own_rows
from pipeline.modalities.training import Classifier
from pipeline.tasks.task import WeightedLoss


class BatchLoss:
    """The loss of batches of a training split.

    Args:
        prepared: The samples, the classes' weights and the task.
        classifier: The classifier that trains.
        plan: The plan of the training.
        generator: The source of chance of augmentation and of mixing.
    """

    def __init__(
        self, prepared: Prepared, classifier: Classifier, plan: Plan, generator: torch.Generator
    ) -> None:
        self.prepared = prepared
        self.classifier = classifier
        self.plan = plan
        self.generator = generator
        weights = prepared.class_weights
        self.class_weights = None if weights is None else torch.from_numpy(weights).to(plan.device)
        chosen = plan.objective
        self.targets = targets_of(prepared.train, classes=len(prepared.best_head.bias))
        self.mixes = chosen.mixup > 0 or chosen.cutmix > 0

    def __call__(self, indices: NDArray[np.int64]) -> WeightedLoss:
        """Return the loss of this process's rows of one batch, with their weight.

        Args:
            indices: Indices of the batch's samples in the training split.
        """
        plan, chosen = self.plan, self.plan.objective
        batch = self.prepared.train.examples.batch(indices, plan.device, self.generator)
        targets = self.targets[torch.from_numpy(indices)].to(plan.device)
        if self.mixes:
            soft = as_soft(targets, len(self.prepared.best_head.bias))
            batch, targets = mix(batch, soft, chosen.mixup, chosen.cutmix, self.generator)
        batch, targets = own_rows(batch, targets, self.prepared.processes)
        if not len(targets):
            return no_loss(plan.device)
        with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
            logits = self.classifier(**batch)
        return self.prepared.task.loss(
            logits.float(),
            targets,
            class_weights=self.class_weights,
            label_smoothing=chosen.label_smoothing,
            focal=chosen.focal,
        )


def targets_of(split: Split, classes: int) -> torch.Tensor:
    """Return what training aims at, on the CPU.

    Args:
        split: The training split.
        classes: Number of classes.

    Returns:
        Class indices, int64 of shape (samples,). Or, where samples have probabilities or weights, each
        class's probability times the sample's weight, float32 of shape (samples, classes).
    """
    masses = split.masses(classes)
    return torch.from_numpy(split.targets if masses is None else masses)


def as_soft(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return class indices, of shape (samples,), as soft targets: float32 of shape (samples, classes)."""
    if targets.is_floating_point():
        return targets
    return torch.nn.functional.one_hot(targets, classes).to(torch.float32)
