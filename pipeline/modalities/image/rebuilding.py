"""What the card of a checkpoint has to say of a network, so that it is rebuilt without weights or hub."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.modalities.image.sources import timm_models
from pipeline.modalities.image.sources.registry import source_of


def rebuilt_from(name: str, network: nn.Module) -> tuple[str, dict[str, Any], int | None]:
    """Return what a network is rebuilt from, without the hub.

    Args:
        name: Name of the architecture in the recipe.
        network: The network, made for the recipe's size.

    Returns:
        Name of the architecture, its further arguments, and the side of the pictures in pixels that it was
        made for, or None where that is the architecture's own.
    """
    source, rest = source_of(name)
    if source is not timm_models:
        return name, {}, getattr(network, "size_px", None)
    architecture, arguments = timm_models.resolve(rest)
    return architecture, arguments, timm_models.size_of(architecture, network)
