"""The modes of a network's modules while it trains, and which of its parameters do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

# Share of all steps over which running statistics are averaged at most.
LOOKING_BACK = 0.1


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


def has_grouped_convolutions(module: nn.Module) -> bool:
    """Say whether some of a network's convolutions are grouped, such as depthwise ones."""
    return any(getattr(part, "groups", 1) > 1 for part in module.modules() if isinstance(part, nn.Conv2d))


def has_running_statistics(module: nn.Module) -> bool:
    """Say whether a layer normalises by the batch in training and by running statistics otherwise."""
    # Either is enough: timm's EvoNorm has a variance only.
    return any(getattr(module, name, None) is not None for name in ("running_mean", "running_var"))


def keep_statistics_up(module: nn.Module, steps: int) -> None:
    """Let running statistics look back over the last tenth of the steps at most.

    Networks that were pretrained for long average over long: over 100 steps as TensorFlow's EfficientNets, or
    over all that there ever were. In a short training such averages still are those of the pretrained weights
    when it ends, and evaluation, which goes by them, is wrong.

    Args:
        module: The network.
        steps: Number of steps of the whole training.
    """
    least = min(1.0, 1 / max(1.0, LOOKING_BACK * steps))
    for part in module.modules():
        if has_running_statistics(part) and hasattr(part, "momentum"):
            usual: Any = part.momentum  # None for the mean over all steps
            part.momentum = max(usual or 0.0, least)  # type: ignore[assignment]


def open_only(module: nn.Module, names: Collection[str]) -> None:
    """Let some parameters train, and freeze the others with all that belongs to them.

    What is frozen has no gradients, and is in evaluation mode: it leaves nothing out and keeps its
    statistics. The modes of the rest are left as they are.

    Args:
        module: The network.
        names: Names of the parameters that train.
    """
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in names)
        if not parameter.requires_grad:
            parameter.grad = None
    _rest_where_frozen(module)


def _rest_where_frozen(module: nn.Module) -> None:
    """Put the parts that are frozen as a whole into evaluation mode, with the chance that follows each.

    A module without parameters, such as dropout, belongs to what stands before it.
    """
    frozen = False
    for part in module.children():
        trains = [parameter.requires_grad for parameter in part.parameters()]
        if trains:
            frozen = not any(trains)
        if frozen:
            part.eval()
        elif trains:
            _rest_where_frozen(part)
