"""Which tensors of a network are its head's, and whether that head is one linear layer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from pipeline.modalities.image.pooled import PooledNetwork

TOLERANCE = 1e-3
"""Largest difference of logits, as a share of the largest, that rounding may explain."""


def head_tensors(network: nn.Module) -> set[str]:
    """Return the names of the tensors that a network loses with its classifier; none where it has none.

    Args:
        network: A network, which is not changed.
    """
    own = {name: value.shape for name, value in network.state_dict().items()}
    if isinstance(network, PooledNetwork):
        return {name for name in own if name.startswith("head.")}
    if not hasattr(network, "reset_classifier"):
        return set()
    skeleton: Any = _skeleton_of(network)
    with torch.random.fork_rng(devices=[]):
        skeleton.reset_classifier(0)
    left = {name: value.shape for name, value in skeleton.state_dict().items()}
    return {name for name, shape in own.items() if left.get(name) != shape}


def is_one_linear_layer(network: Any, pictures: torch.Tensor) -> bool:  # noqa: ANN401 - timm's, untyped
    """Say whether a network's answers are those of one linear layer, which it has, on its pooled features.

    The head's tensors are random numbers meanwhile, so that nothing that a new head has, such as a second
    head beside it or the statistics of a norm, is missed.

    Args:
        network: A network in evaluation mode.
        pictures: Normalised pictures, float32 of shape (batch, 3, height, width).
    """
    head = network.get_classifier()
    if not isinstance(head, nn.Linear) or head.out_features == 0:
        return isinstance(head, nn.Identity) and _becomes_linear(network)
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    parts = [state[name] for name in sorted(head_tensors(network) & state.keys())]
    kept = [part.clone() for part in parts]
    generator = torch.Generator().manual_seed(0)
    try:
        for part in parts:
            part.copy_(torch.rand(part.shape, generator=generator) + 0.1)
        # Not in inference mode: ConViT keeps tensors of its first run, which then could not train.
        with torch.no_grad():
            features = network.forward_head(network.forward_features(pictures), pre_logits=True)
            logits = network(pictures)
            if features.ndim != len(("batch", "features")) or features.shape[1] != head.in_features:
                return False
            expected = head(features)
    finally:
        for part, before in zip(parts, kept, strict=True):
            part.copy_(before)
    scale = max(float(expected.abs().max()), 1e-6)
    return bool((expected - logits).abs().max() <= TOLERANCE * scale)


def _becomes_linear(network: nn.Module) -> bool:
    """Say whether a network without a classifier gets a linear layer as one."""
    skeleton: Any = _skeleton_of(network)
    with torch.random.fork_rng(devices=[]):
        skeleton.reset_classifier(2)
    return isinstance(skeleton.get_classifier(), nn.Linear)


def _skeleton_of(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose tensors take no memory."""
    tensors: dict[int, object] = {
        id(value): nn.Parameter(value.detach().to("meta"), value.requires_grad)
        for value in network.parameters()
    }
    tensors |= {id(value): value.detach().to("meta") for value in network.buffers()}
    return copy.deepcopy(network, tensors)
