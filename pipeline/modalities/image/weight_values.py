"""The values of a file's tensors: floats that a network can be trained with, or refused by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from pipeline.errors import GraftError

FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})
SHOWN = 5
Tensors = Mapping[str, torch.Tensor]


def refuse_values(expected: Tensors, given: Tensors, source: str) -> None:
    """Raise GraftError where a file has tensors of another type for floats, or values that are no numbers.

    Args:
        expected: The network's tensors, by their names; those of integers take any type.
        given: The file's tensors, by the same names and of the same shapes.
        source: Where the tensors come from, for the error.

    Raises:
        GraftError: A tensor is of integers, of complex numbers or of floats with a scale where the network
            has floats, or is not finite in the network's type where the network's own is.
    """
    floats = {name: value for name, value in given.items() if expected[name].is_floating_point()}
    kinds = [
        f"`{name}` is of type {str(value.dtype).removeprefix('torch.')}"
        for name, value in floats.items()
        if value.dtype not in FLOATS
    ]
    if kinds:
        raise GraftError(
            f"backbone.weights: {source} does not fit the backbone, which has floats: {_shown(kinds)}. "
            "Numbers without their scales are no weights: name the file as it was before it was quantised."
        )
    _refuse_infinite(
        (
            name
            for name, value in floats.items()
            if not _is_finite(value.to(expected[name].dtype)) and _is_finite(expected[name])
        ),
        source,
    )


def refuse_infinite_parameters(network: nn.Module, source: str) -> None:
    """Raise GraftError where a parameter of a loaded network is infinite or no number.

    Args:
        network: The network with its pretrained weights.
        source: Where they come from, for the error.
    """
    _refuse_infinite((name for name, value in network.named_parameters() if not _is_finite(value)), source)


def _refuse_infinite(names: Iterable[str], source: str) -> None:
    """Raise GraftError with the first names, if there are any."""
    faults = [f"`{name}` is not finite in float32" for name in names]
    if faults:
        raise GraftError(
            f"backbone.weights: {source} has values that are infinite or no numbers: {_shown(faults)}. "
            "Name the weights of an earlier step of that training, or other ones."
        )


def _is_finite(value: torch.Tensor) -> bool:
    """Say whether all values of a tensor, of any type, are finite; those without storage are taken to be."""
    return value.is_meta or not value.is_floating_point() or bool(torch.isfinite(value).all())


def _shown(faults: list[str]) -> str:
    """Return the first five faults, and how many more there are."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return f"{'; '.join(sorted(faults)[:SHOWN])}{more}"
