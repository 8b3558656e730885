"""The task of one label a sample: trained by cross-entropy, read by a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.task import Logits, Probabilities, WeightedLoss
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
        focal: float = 0.0,
    ) -> WeightedLoss:
        """Return the cross-entropy, or the focal loss, against class indices or soft targets."""
        from pipeline.tasks.losses import hard_cross_entropy, soft_cross_entropy

        if targets.is_floating_point():
            return soft_cross_entropy(logits, targets, class_weights, label_smoothing, focal)
        if focal:
            from torch.nn.functional import one_hot

            soft = one_hot(targets, logits.shape[1]).to(logits.dtype)
            return soft_cross_entropy(logits, soft, class_weights, label_smoothing, focal)
        return hard_cross_entropy(logits, targets, class_weights, label_smoothing)

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
