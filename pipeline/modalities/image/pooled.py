"""A network that gives pooled features, with a linear head, in the part of timm's interface that is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn


class PooledNetwork(nn.Module):
    """A body that gives features, and a linear head on them, with a dropout between that is off at first.

    Args:
        body: A network from normalised pictures, float32 of shape (batch, 3, height, width), to features,
            float32 of shape (batch, features).
        features: Number of features.
        classes: Number of outputs of the head.
        pretrained_cfg: timm's configuration of how the body was pretrained: ``input_size``, ``mean``,
            ``std``, ``interpolation``, ``crop_pct`` and ``crop_mode``.
    """

    def __init__(
        self, body: nn.Module, features: int, classes: int, pretrained_cfg: Mapping[str, object]
    ) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(features, classes)
        self.pretrained_cfg = dict(pretrained_cfg)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 of shape (batch, classes)."""
        return self.forward_head(self.body(pictures))

    def forward_features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the body's features, float32 of shape (batch, features)."""
        return self.body(pictures)  # type: ignore[no-any-return]

    def forward_head(self, features: torch.Tensor, *, pre_logits: bool = False) -> torch.Tensor:
        """Return logits, or the features themselves, pooled already, where ``pre_logits`` is set."""
        return features if pre_logits else self.head(self.dropout(features))

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by one of another number of outputs, with random weights."""
        self.head = nn.Linear(self.head.in_features, num_classes).to(self.head.weight.device)

    def no_weight_decay(self) -> Collection[str]:
        """Return the patterns of the names of matrices that the body declares to be without weight decay."""
        declare: Callable[[], Collection[str]] = getattr(self.body, "no_weight_decay", tuple)
        return declare()
