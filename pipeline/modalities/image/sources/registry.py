"""The source of a network, by the prefix of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.errors import GraftError
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


TENSORFLOW = frozenset({"tfhub", "tensorflow", "tensorflow_hub", "savedmodel", "tf"})
"""Prefixes that people may try for a network of TensorFlow."""
SOURCES: Mapping[str, Callable[[], NetworkSource]] = {
    TIMM: _timm,
    TORCHVISION: _torchvision,
    HUB: _hub,
    KERAS: _keras,
}
"""A function that imports each source, by the prefix that stands before the colon of a backbone's name."""


def source_of(name: str) -> tuple[NetworkSource, str]:
    """Import the source that a backbone's name belongs to, and return it with the name without its prefix.

    Raises:
        GraftError: The name has the prefix of something that is no source.
    """
    prefix = name.partition(":")[0].lower()
    if prefix in TENSORFLOW:
        raise GraftError(
            f"backbone.name: {prefix}: is no source. A SavedModel of TensorFlow has no layers that could be "
            "trained or exported here. Where Keras made it, save its weights there, "
            "model.save_weights('w.weights.h5'), and use keras:NAME with weights: w.weights.h5."
        )
    source, rest = split_name(name)
    return SOURCES[source](), rest
