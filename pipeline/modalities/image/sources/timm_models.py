"""The networks of timm, which are named without a prefix."""

from __future__ import annotations

from typing import Any, Literal

import timm
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.weights import describe_hub_failure, fit_weights, read_weights


def create(name: str, classes: int | None = None, size_px: int | None = None) -> nn.Module:
    """Create a network of timm with random weights, as :meth:`NetworkSource.create` describes it."""
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if size_px is not None:
        options["img_size"] = size_px
    try:
        model: nn.Module = timm.create_model(name, **options)
    except (RuntimeError, ValueError) as error:
        near = timm.list_models(f"*{name.partition('.')[0][:12]}*")[:5]
        raise GraftError(
            f"backbone.name: timm has no `{name}`. Near it: {', '.join(near) or 'nothing'}; "
            "all: timm.list_models()"
        ) from error
    return model


def create_pretrained(name: str) -> nn.Module:
    """Create a network of timm with its weights from the hub, as :meth:`NetworkSource.create_pretrained`."""
    create(name)
    try:
        pretrained: nn.Module = timm.create_model(name, pretrained=True)
        return pretrained.eval()
    except Exception as error:  # the hub's client raises many unrelated types
        raise describe_hub_failure(name, error) from error


def create_from(name: str, weights: str, mapping: Literal["names", "order"]) -> nn.Module:
    """Create a network of timm with the weights of a file, as :meth:`NetworkSource.create_from` does."""
    model = create(name)
    fit_weights(model, read_weights(weights, mapping), mapping, weights)
    return model.eval()
