"""The loss of a batch: the task's own, with what the plan adds to it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.finetune.plan import Plan
from pipeline.finetune.prepared import Prepared
from pipeline.modalities.training import Classifier


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

    def __call__(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Return the loss of one batch, a scalar in nats.

        Args:
            indices: Indices of the batch's samples in the training split.
        """
        plan, train = self.plan, self.prepared.train
        batch = train.examples.batch(indices, plan.device, self.generator)
        targets = torch.from_numpy(train.targets[indices]).to(plan.device)
        with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
            logits = self.classifier(**batch)
        return self.prepared.task.loss(
            logits.float(),
            targets,
            class_weights=self.class_weights,
            label_smoothing=plan.objective.label_smoothing,
        )
