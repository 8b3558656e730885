"""The network with everything around it that serving needs: decoded input in, calibrated probabilities out."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.modalities.training import Classifier


class ServedClassifier(nn.Module):
    """A classifier's own inputs to calibrated probabilities, float32 (batch, classes).

    Args:
        classifier: The inputs to logits.
        temperature: Divides the logits before the softmax.
    """

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, **feeds: torch.Tensor) -> torch.Tensor:
        """Run, calibrate."""
        return torch.softmax(self.classifier(**feeds) / self.temperature, dim=1)
