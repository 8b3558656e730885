"""Dropout and stochastic depth of timm's networks, set after a network was created."""

from __future__ import annotations

from typing import Literal

import timm
import torch
from torch import nn

from pipeline.errors import GraftError

Kind = Literal["Dropout", "DropPath"]
ARGUMENTS: dict[Kind, str] = {"Dropout": "drop_rate", "DropPath": "drop_path_rate"}


def set_omission(network: nn.Module, kind: Kind, rate: float, key: str) -> None:
    """Give a network the dropout or stochastic depth that timm creates it with at a rate.

    Each architecture has its own rule, such as a rate that rises from block to block; so a second network is
    created at that rate, without memory for weights, and what leaves something out is taken from it.

    Args:
        network: timm's network, which is changed.
        kind: Beginning of the names of the classes of what leaves something out.
        rate: The rate, in [0, 1).
        key: The recipe's key, for the error.

    Raises:
        GraftError: The network has no such thing.
    """
    twin = _create_twin(network, ARGUMENTS[kind], rate)
    if twin is None or (rate > 0 and not _omits(twin, kind, rate)):
        what = "dropout before its head" if kind == "Dropout" else "stochastic depth"
        raise GraftError(f"{key}: timm's {type(network).__name__} has no {what} to set. Leave it out.")
    own = dict(network.named_modules())
    for path, module in twin.named_modules():
        if path not in own:
            continue
        if kind == "Dropout" and hasattr(own[path], "drop_rate"):
            own[path].drop_rate = getattr(module, "drop_rate", rate)
        names = dict.fromkeys([*dict(module.named_children()), *dict(own[path].named_children())])
        for name in names:
            child, there = getattr(module, name, None), getattr(own[path], name, None)
            if _is(child, kind) or _is(there, kind):
                setattr(own[path], name, child)


def _create_twin(network: nn.Module, argument: str, rate: float) -> nn.Module | None:
    """Return a network of the same architecture that was created at a rate; None if timm cannot."""
    architecture = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    if architecture is None or not timm.is_model(architecture):
        return None
    # What timm created it with, such as the size of the pictures. Some make their layers by it.
    arguments = dict(getattr(network, "_model_args", {})) | {argument: rate}
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            twin: nn.Module = timm.create_model(architecture, **arguments)
    except TypeError:  # the architecture does not know the argument
        return None
    return twin.train(network.training)


def _is(module: object, kind: Kind) -> bool:
    """Say whether a module leaves something out in that way."""
    return type(module).__name__.startswith(kind)


def _omits(twin: nn.Module, kind: Kind, rate: float) -> bool:
    """Say whether a network that was created at a rate above 0 leaves anything out."""
    if kind == "Dropout":
        return any(
            getattr(module, "drop_rate", None) == rate or (_is(module, kind) and module.p == rate)
            for module in twin.modules()
        )
    return any(_is(module, kind) for module in twin.modules())
