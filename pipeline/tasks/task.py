"""The seam of a task: everything that the stages ask about answers, whatever their form.

Who asks what:

=====================  ==========================================================================
``finetune``           ``loss`` of every batch and of validation; ``answers`` for its accuracy
``measures``           ``probabilities``, ``answers``, ``confidences``, ``agree``
``export``             ``served``, the last step of the exported graph
``evaluate``           ``probabilities``; ``answers`` and ``confidences`` of the mistakes that it shows
``verify``             ``probabilities``, ``agree``, ``margins``, ``answers``
=====================  ==========================================================================

A task of another form, such as several labels a sample or a number, is one more file beside
:mod:`pipeline.tasks.classification`. What it would need besides are figures of its own in
:mod:`pipeline.measures.metrics`: accuracy, F1 and a confusion matrix mean one label a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Logits = NDArray[np.floating]
Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class WeightedLoss:
    """The loss of a batch: a weighted mean, with the weight that it stands for.

    Several processes add their totals, and divide by the sum of their weights: a mean of their means would
    count the samples of a lighter batch for more.

    Attributes:
        mean: Weighted mean of the samples' losses, a scalar tensor in nats; 0 where the weight is 0.
        weight: Sum of the weights of the samples, a scalar tensor without a gradient; their number where
            neither samples nor classes are weighted.
    """

    mean: torch.Tensor
    weight: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """The weighted sum of the samples' losses, a scalar tensor in nats."""
        return self.mean * self.weight


class Task(Protocol):
    """What a model is trained for, and how its output is read.

    Arrays of logits and of probabilities have the shape (samples, classes).
    """

    @property
    def name(self) -> str:
        """The name that a bundle's manifest carries, such as ``classification``."""
        ...

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        *,
        class_weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
    ) -> WeightedLoss:
        """Return the loss that training minimises, and the weight of the batch.

        Args:
            logits: Output of the network, float32 of shape (samples, classes).
            targets: What the answers should be: int64 of shape (samples,); or soft, float32 of shape
                (samples, classes): the probability of each class, times the weight of the sample.
            class_weights: Weight of each class, float32 of shape (classes,), or None, the default, for equal
                weights.
            label_smoothing: Share of each target that is spread over all classes, in [0, 1); 0 by default.
            focal: Exponent by which what is already right counts less, 0 or more; 0, the default, for
                cross-entropy.
        """
        ...

    def served(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the probabilities as the exported graph computes them: float32 of the shape of the logits.

        Args:
            logits: Output of the network, float32 of shape (samples, classes).
            temperature: What the logits are divided by, above 0.
        """
        ...

    def probabilities(self, logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the probabilities of logits that are divided by a temperature, in float64.

        Args:
            logits: Logits of shape (samples, classes).
            temperature: What the logits are divided by, above 0; 1 by default.
        """
        ...

    def answers(self, probabilities: Probabilities) -> NDArray[np.int64]:
        """Return the answer to each sample: int64 of shape (samples,)."""
        ...

    def confidences(self, probabilities: Probabilities) -> Probabilities:
        """Return the probability of each answer: shape (samples,), of the dtype of the probabilities."""
        ...

    def margins(self, probabilities: Probabilities) -> Probabilities:
        """Return by how much each answer is ahead of the next best: shape (samples,), in [0, 1]."""
        ...

    def agree(self, ours: Probabilities, theirs: Probabilities) -> NDArray[np.bool_]:
        """Return for which samples two models give the same answer: bool of shape (samples,)."""
        ...
