"""The network with what serving needs around it: decoded input in, calibrated probabilities out."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.modalities.training import Classifier
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.task import Task


class ServedClassifier(nn.Module):
    """A classifier with calibration, from its own inputs to probabilities of shape (batch, classes), float32.

    Args:
        classifier: The network from the inputs to logits, float32 of shape (batch, classes).
        temperature: What the logits are divided by, above 0.
        task: The task that turns logits into probabilities; classification by default.
    """

    def __init__(self, classifier: Classifier, temperature: float, task: Task = CLASSIFICATION) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature
        self.task = task

    def forward(self, **feeds: torch.Tensor) -> torch.Tensor:
        """Run the network and calibrate its logits."""
        return self.task.served(self.classifier(**feeds), self.temperature)
