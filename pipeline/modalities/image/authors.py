"""timm's conversions of weights: from the names of a network's authors, and to pictures of another size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from torch import nn

from pipeline.modalities.image.weight_names import common_prefix

CONVERSIONS = ("checkpoint_filter_fn", "_filter_fn", "checkpoint_filter_fn_classifier")
"""Names under which timm's modules have their conversion."""
Tensors = Mapping[str, torch.Tensor]


def convert_authors(model: nn.Module, tensors: Tensors, prefixes: Collection[str]) -> Tensors | None:
    """Return what timm makes of a file's tensors before it loads them; None where it makes nothing of them.

    Args:
        model: The network that they are for, which says the size of the pictures.
        tensors: The tensors of the file.
        prefixes: What may stand before all of their names, and is taken off.
    """
    convert = _conversion_of(model)
    if convert is None:
        return None
    length = len(common_prefix(tensors, prefixes))
    bare = {name[length:]: value for name, value in tensors.items()}
    try:
        with torch.no_grad():
            return _call(convert, bare, model)
    except Exception:  # each conversion fails in its own way on tensors that are not what it expects
        return None


def _call(convert: Callable[..., Any], tensors: dict[str, torch.Tensor], model: nn.Module) -> Tensors | None:
    """Call a conversion, which takes the network too or does not, and return its tensors."""
    try:
        made = convert(tensors, model)
    except TypeError:
        made = convert(tensors)
    named = isinstance(made, Mapping) and all(isinstance(value, torch.Tensor) for value in made.values())
    return made if named else None


def _conversion_of(model: nn.Module) -> Callable[..., Any] | None:
    """Return the conversion of a network's own module of timm; None for other networks, and without one."""
    architecture = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    if not architecture or not timm.is_model(architecture):
        return None
    module = sys.modules[model_entrypoint(architecture).__module__]
    found = (getattr(module, name, None) for name in CONVERSIONS)
    return next((convert for convert in found if convert is not None), None)
