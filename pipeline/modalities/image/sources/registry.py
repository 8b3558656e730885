"""The source of a network, by the prefix of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.modalities.image.names import HUB, KERAS, TIMM, TORCHVISION, split_name
from pipeline.modalities.image.sources.source import NetworkSource


def _timm() -> NetworkSource:
    from pipeline.modalities.image.sources import timm_models

    return timm_models


def _torchvision() -> NetworkSource:
    from pipeline.modalities.image.sources import torchvision_models

    return torchvision_models


def _hub() -> NetworkSource:
    from pipeline.modalities.image.sources import torch_hub

    return torch_hub


def _keras() -> NetworkSource:
    from pipeline.modalities.image.sources import keras_models

    return keras_models


SOURCES: Mapping[str, Callable[[], NetworkSource]] = {
    TIMM: _timm,
    TORCHVISION: _torchvision,
    HUB: _hub,
    KERAS: _keras,
}
"""A function that imports each source, by the prefix that stands before the colon of a backbone's name."""


def source_of(name: str) -> tuple[NetworkSource, str]:
    """Import the source that a backbone's name belongs to, and return it with the name without its prefix."""
    source, rest = split_name(name)
    return SOURCES[source](), rest
