"""The modes of a network's modules while it trains."""

from __future__ import annotations

from torch import nn


def train_mode(module: nn.Module, *, freeze_batch_norm: bool) -> None:
    """Put a network into training mode, but for batch norms whose statistics are to stay.

    Args:
        module: The network.
        freeze_batch_norm: Whether layers with running statistics keep those that they have.
    """
    module.train()
    if freeze_batch_norm:
        for part in module.modules():
            if has_running_statistics(part):
                part.eval()


def has_running_statistics(module: nn.Module) -> bool:
    """Say whether a layer normalises by the batch in training and by running statistics otherwise."""
    return (
        getattr(module, "running_mean", None) is not None and getattr(module, "running_var", None) is not None
    )
