"""The losses of classification, each a weighted mean with its weight."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from pipeline.tasks.task import WeightedLoss

# The least part of an answer that counts as wrong. A root of 0 has no finite gradient, which exponents of
# the focal loss below 1 would ask for.
LEAST_WRONG = 1e-6


def hard_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, class_weights: torch.Tensor | None, label_smoothing: float
) -> WeightedLoss:
    """Return the cross-entropy of class indices: torch's own mean, to the bit.

    Args:
        logits: Output of the network, float32 of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
        class_weights: Weight of each class, float32 of shape (classes,), or None for equal ones.
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
    """
    mean = cross_entropy(logits, targets, weight=class_weights, label_smoothing=label_smoothing)
    if class_weights is None:
        return WeightedLoss(mean, torch.tensor(float(len(targets)), device=logits.device))
    return WeightedLoss(mean, class_weights[targets].sum())


def soft_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    class_weights: torch.Tensor | None,
    label_smoothing: float,
    focal: float,
) -> WeightedLoss:
    """Return the cross-entropy of soft targets, or the focal loss (arXiv:1708.02002), averaged over them.

    It is what :func:`hard_cross_entropy` returns where each target is one class with a weight of 1. The
    focal loss of a soft target is the mean over its classes of the loss that each of them would have.

    Args:
        logits: Output of the network, float32 of shape (samples, classes).
        targets: Probability of each class, times the weight of the sample: float32 of shape (samples,
            classes).
        class_weights: Weight of each class, float32 of shape (classes,), or None for equal ones.
        label_smoothing: Share of each target that is spread over all classes, in [0, 1).
        focal: Exponent of the probability of being wrong that each loss is multiplied by; 0 for
            cross-entropy.
    """
    logs = torch.log_softmax(logits, dim=1)
    smoothed = targets * (1 - label_smoothing)
    smoothed = smoothed + targets.sum(dim=1, keepdim=True) * (label_smoothing / logits.shape[1])
    if class_weights is not None:
        targets, smoothed = targets * class_weights, smoothed * class_weights
    losses = -smoothed * logs
    if focal:
        losses = losses * (1 - logs.exp()).clamp_min(LEAST_WRONG) ** focal
    weight = targets.sum()
    return WeightedLoss(losses.sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny), weight)
