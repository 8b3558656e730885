"""The search for the head of a network of which nothing is known, by running it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of

OWN_ENTRY = "Add an entry to hubconf.py that returns the network up to its features, and name that one."


@dataclass(frozen=True)
class FoundHead:
    """Where the features of a network are, as a run of it shows.

    Attributes:
        head: Name of the linear layer whose input are the features and whose output is the network's; None
            where the network's own output are the features.
        features: Number of features.
        size_px: Side of the pictures that it ran on, in pixels.
    """

    head: str | None
    features: int
    size_px: int


def find_head(network: nn.Module, sizes_px: Sequence[int], place: str) -> FoundHead:
    """Run a network on random pictures, and return where its features are.

    The head is the linear layer that runs last, if the network's output is exactly what it gives. A network
    whose output is made otherwise gives features itself.

    Args:
        network: The network in evaluation mode, which is not changed.
        sizes_px: Sides of the pictures to try, in pixels; the first that it takes is its own.
        place: What the network is called in an error.

    Raises:
        GraftError: It takes none of the sizes, its output is no float matrix with a row for each picture, its
            head is followed by something else, or it returns something else while it trains.
    """
    size_px, output = _first_run(network, sizes_px, place)
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or not output.is_floating_point():
        raise GraftError(
            f"backbone.name: {place} returns {_shown(output)}, not a row of numbers for each "
            f"picture. {OWN_ENTRY}"
        )
    head = _head_of(network, _pictures(size_px), output, place)
    _refuse_other_in_training(network, _pictures(size_px), output, place)
    if head is None:
        return FoundHead(None, output.shape[1], size_px)
    layer = network.get_submodule(head)
    assert isinstance(layer, nn.Linear)
    return FoundHead(head, layer.in_features, size_px)


def _pictures(size_px: int) -> torch.Tensor:
    """Return two normalised pictures of noise, always the same, float32 of shape (2, 3, size, size)."""
    return torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


def _run(network: nn.Module, pictures: torch.Tensor) -> object:
    """Run a network without gradients, and put torch's source of chance back."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output: object = network(pictures)
        return output


def _first_run(network: nn.Module, sizes_px: Sequence[int], place: str) -> tuple[int, object]:
    """Return the first size that a network takes, and its output; GraftError if it takes none."""
    reasons = []
    for size_px in sizes_px:
        try:
            return size_px, _run(network, _pictures(size_px))
        except Exception as error:  # foreign code, which may raise anything
            reasons.append(reason_of(error))
    tried = ", ".join(map(str, sizes_px))
    raise GraftError(f"backbone.name: {place} takes no pictures of {tried} pixels ({reasons[0]}).")


def _head_of(network: nn.Module, pictures: torch.Tensor, output: torch.Tensor, place: str) -> str | None:
    """Return the name of the linear layer that gives a network's output; None if no such layer runs last."""
    runs: list[tuple[nn.Module, torch.Tensor]] = []
    names = {module: name for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    hooks = [
        module.register_forward_pre_hook(lambda module, given: runs.append((module, given[0])))
        for module in names
    ]
    try:
        _run(network, pictures)
    finally:
        for hook in hooks:
            hook.remove()
    if not runs:
        return None
    layer, given = runs[-1]
    assert isinstance(layer, nn.Linear)
    if given.ndim != 2 or layer.out_features != output.shape[1]:
        return None
    if not names[layer] or not _is_last(network, names[layer], pictures, given):
        raise GraftError(
            f"backbone.name: {place} changes what its last linear layer `{names[layer]}` gives, so that no "
            f"other head can take its place. {OWN_ENTRY}"
        )
    head: str = names[layer]
    return head


def _is_last(network: nn.Module, name: str, pictures: torch.Tensor, given: torch.Tensor) -> bool:
    """Say whether a network returns what a layer is given, when the layer passes it on as it is."""
    layer = network.get_submodule(name)
    network.set_submodule(name, nn.Identity())
    try:
        output = _run(network, pictures)
    finally:
        network.set_submodule(name, layer)
    return isinstance(output, torch.Tensor) and torch.equal(output, given)


def _refuse_other_in_training(
    network: nn.Module, pictures: torch.Tensor, output: torch.Tensor, place: str
) -> None:
    """Raise GraftError where a network fails while it trains, or returns something else then."""
    try:
        trained = _run(copy.deepcopy(network).train(), pictures)
    except Exception as error:  # foreign code, which may raise anything
        raise GraftError(
            f"backbone.name: {place} runs, but not while it trains ({reason_of(error)})."
        ) from error
    if not isinstance(trained, torch.Tensor) or trained.shape != output.shape:
        raise GraftError(
            f"backbone.name: {place} returns {_shown(trained)} while it trains, and otherwise "
            f"{_shown(output)}. {OWN_ENTRY}"
        )


def _shown(output: object) -> str:
    """Return what a network returned, for people."""
    if isinstance(output, torch.Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}"
    return type(output).__name__
