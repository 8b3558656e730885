"""A linear head for every pretrained network: its own, or one on the pooled features in place of another."""

from __future__ import annotations

from typing import Any

import torch
from timm.data import resolve_data_config
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.head_parts import is_one_linear_layer
from pipeline.modalities.image.pooled import PooledNetwork, TimmBody
from pipeline.modalities.image.sources.timm_models import sizes_near
from pipeline.modalities.reasons import reason_of
from serving.model.inputs.image.spec import ImageInputSpec


def pooled(network: nn.Module, classes: int) -> PooledNetwork:
    """Return a network of timm with one linear layer on its pooled features in place of its own head.

    Args:
        network: The network, whose head is taken off.
        classes: Number of outputs of the new head, whose weights are 0.
    """
    body = TimmBody(network)
    size: Any = resolve_data_config({}, model=network)["input_size"]
    was_training = network.training
    with torch.no_grad():
        features = body.eval()(torch.zeros(1, *size)).shape[1]
    config = getattr(network, "pretrained_cfg", {})
    whole = PooledNetwork(body, features, classes, config).train(was_training)
    with torch.no_grad():
        whole.head.weight.zero_()
        whole.head.bias.zero_()
    return whole


def with_linear_head(network: nn.Module, spec: ImageInputSpec) -> nn.Module:
    """Return a pretrained network, or a pooled one of it where its head is not one linear layer.

    The network runs once, on a picture of the size that the recipe asks for.

    Args:
        network: The pretrained network, in evaluation mode.
        spec: The network's input.

    Raises:
        GraftError: It cannot take pictures of that size, or gives no features that a head could be put on.
    """
    name = type(network).__name__
    if not all(hasattr(network, part) for part in ("forward_features", "forward_head", "reset_classifier")):
        raise GraftError(
            f"backbone.name: {name} gives no features that a classifier could be trained on. Choose another."
        )
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(1, 3, spec.height, spec.width, generator=generator)
    try:
        if is_one_linear_layer(network, pictures):
            return network
        return pooled(network, 1)
    except Exception as error:  # each architecture fails in its own way
        raise GraftError(
            f"image.size: {name} cannot take pictures of {spec.width} pixels ({reason_of(error)})."
            f"{sizes_near(network, spec.width)}"
        ) from error
