"""The task of one label a sample: trained by cross-entropy, read by a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.task import Logits, Probabilities
from serving.model.decision import most_probable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Classification:
    """One of several classes for each sample; :class:`pipeline.tasks.task.Task` says what each method gives.

    Attributes:
        name: The name in a bundle's manifest.
    """

    name: str = "classification"

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        *,
        class_weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        """Return the mean cross-entropy of class indices; with weights, the mean is weighted too."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, targets, weight=class_weights, label_smoothing=label_smoothing)

    def served(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the softmax of the logits, divided by the temperature."""
        import torch

        return torch.softmax(logits / temperature, dim=1)

    def probabilities(self, logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the softmax of the logits, divided by the temperature, in float64.

        It is finite for all finite logits: the largest of each row is subtracted first.
        """
        scaled = logits.astype(np.float64) / temperature
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))

    def answers(self, probabilities: Probabilities) -> NDArray[np.int64]:
        """Return the most probable class of each sample; of equally probable ones the first."""
        return most_probable(probabilities)

    def confidences(self, probabilities: Probabilities) -> Probabilities:
        """Return the probability of the most probable class."""
        return np.asarray(probabilities.max(axis=1))

    def margins(self, probabilities: Probabilities) -> Probabilities:
        """Return the difference between the two largest probabilities of each sample."""
        ranked = np.sort(probabilities, axis=1)
        return np.asarray(ranked[:, -1] - ranked[:, -2])

    def agree(self, ours: Probabilities, theirs: Probabilities) -> NDArray[np.bool_]:
        """Return for which samples the most probable class is the same."""
        return np.asarray(self.answers(ours) == self.answers(theirs))


CLASSIFICATION = Classification()
