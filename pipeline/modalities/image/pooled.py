"""A network that gives pooled features, with a linear head, in the part of timm's interface that is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn


class TimmBody(nn.Module):
    """A network of timm without its head: from normalised pictures to pooled features.

    Args:
        network: The network, whose head is taken off.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        with torch.random.fork_rng(devices=[]):
            self.network.reset_classifier(0)  # type: ignore[operator]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return features, float32 of shape (batch, features)."""
        features = self.network.forward_features(pictures)  # type: ignore[operator]
        return self.network.forward_head(features, pre_logits=True)  # type: ignore[no-any-return,operator]

    def no_weight_decay(self) -> Collection[str]:
        """Return the patterns of the names of matrices that the network declares without weight decay."""
        declare: Callable[[], Collection[str]] = getattr(self.network, "no_weight_decay", tuple)
        return declare()


class PooledNetwork(nn.Module):
    """A body that gives features, and a linear head on them, with a dropout between that is off at first.

    Args:
        body: A network from normalised pictures, float32 of shape (batch, 3, height, width), to features,
            float32 of shape (batch, features).
        features: Number of features.
        classes: Number of outputs of the head.
        pretrained_cfg: timm's configuration of how the body was pretrained: ``input_size``, ``mean``,
            ``std``, ``interpolation``, ``crop_pct`` and ``crop_mode``.
        size_px: Side of the pictures in pixels that the body was made for, where that is not its own; None by
            default.
    """

    def __init__(
        self,
        body: nn.Module,
        features: int,
        classes: int,
        pretrained_cfg: Mapping[str, object],
        size_px: int | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(features, classes)
        self.pretrained_cfg = dict(pretrained_cfg)
        self.size_px = size_px

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

    def set_dropout(self, share: float) -> None:
        """Set the share of the features before the head that training leaves out, in [0, 1)."""
        self.dropout.p = share

    def no_weight_decay(self) -> Collection[str]:
        """Return the patterns of the names of matrices that the body declares to be without weight decay."""
        declare: Callable[[], Collection[str]] = getattr(self.body, "no_weight_decay", tuple)
        return declare()
