"""The network with everything around it that serving needs: pixels in, calibrated probabilities out."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.modalities.image import Normalisation, to_input


class ServedClassifier(nn.Module):
    """uint8 pictures (batch, H, W, 3) to calibrated probabilities, float32 (batch, classes).

    Args:
        network: Normalised pictures to logits.
        normalisation: Of its pixels.
        temperature: Divides the logits before the softmax.
    """

    def __init__(self, network: nn.Module, normalisation: Normalisation, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.temperature = temperature

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise, run, calibrate."""
        # uint8 feeds a Cast directly, or TensorRT refuses it; contiguous, or the graph gains shape arithmetic.
        batch = to_input(image, self.normalisation).contiguous()
        return torch.softmax(self.network(batch) / self.temperature, dim=1)
