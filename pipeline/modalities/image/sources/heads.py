"""The head of a foreign network, taken off, so that a linear one on its input takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.weight_names import prefixes_of
from pipeline.modalities.image.weights import fit_weights


def last_linear(network: nn.Module) -> str | None:
    """Return the name of a network's last linear layer, in the order of its modules; None if it has none."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def pool(
    network: nn.Module,
    head: str,
    classes: int | None,
    pretrained_cfg: Mapping[str, object],
    size_px: int | None = None,
) -> PooledNetwork:
    """Take the head off a network, and return its body with a linear head on what the old one was given.

    Args:
        network: The network, which becomes the body.
        head: Name of its linear layer that gives the logits.
        classes: Number of outputs of the new head; None for the old head's, whose values it then gets.
        pretrained_cfg: How the network was pretrained, as :class:`PooledNetwork` takes it.
        size_px: Side of the pictures in pixels that it was made for, where that is not its own.
    """
    old = network.get_submodule(head)
    assert isinstance(old, nn.Linear)
    network.set_submodule(head, nn.Identity())
    pooled = PooledNetwork(network, old.in_features, classes or old.out_features, pretrained_cfg, size_px)
    if classes is None:
        with torch.no_grad():
            pooled.head.weight.copy_(old.weight)
            # A few heads have no bias, which is one of zeros.
            pooled.head.bias.copy_(torch.zeros(old.out_features) if old.bias is None else old.bias)
    return pooled


def fit_body(
    network: PooledNetwork,
    tensors: Mapping[str, torch.Tensor],
    head: str | None,
    mapping: Literal["names", "order"],
    source: str,
) -> None:
    """Load tensors of a network as it was before its head was taken off.

    Args:
        network: The body with its new head.
        tensors: The tensors that the file holds, by their names.
        head: Name of the module that was the head; None for a network without one.
        mapping: Whether names or their order say where a tensor belongs, as :func:`fit_weights` has it.
        source: Where the tensors come from, for the error.

    Raises:
        GraftError: Anything besides the head is missing, left over, or does not fit.
    """
    given = dict(tensors)
    if head is not None and mapping == "names":
        prefix = prefixes_of(network.body.state_dict(), given)[0]
        for name in ("weight", "bias"):
            if f"{prefix}{head}.{name}" in given:
                given[f"{prefix}head.{name}"] = given.pop(f"{prefix}{head}.{name}")
        if f"{prefix}head.weight" in given:
            # A few heads have no bias, which is one of zeros.
            given.setdefault(f"{prefix}head.bias", torch.zeros(len(given[f"{prefix}head.weight"])))
    fit_weights(network, given, mapping, source)
