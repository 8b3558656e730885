"""Pretrained weights, loaded into a network exactly or refused, and never random in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.modalities.reasons import reason_of

Tensors = Mapping[str, torch.Tensor]
COUNTER = "num_batches_tracked"  # a counter, not a weight: older files lack it
THREE_WAYS = (
    "Three ways to give weights in the recipe: `weights: hub` with a network or a filled cache, "
    "`weights: FILE.safetensors` or `.pth`, or `weights: package:NAME/PATH` from an installed package."
)


def read_weights(source: str, mapping: Literal["names", "order"] = "names") -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a ``.pth`` file without running any code in it.

    Args:
        source: Path of the file, or ``package:NAME/PATH``.
        mapping: ``names``, the default, or ``order``, which needs a file that keeps its tensors' order.

    Raises:
        GraftError: There is no such file, or it holds something else than named tensors.
    """
    path = locate(source, "backbone.weights")
    if mapping == "order" and path.suffix == ".safetensors":
        raise GraftError(
            "backbone.mapping: a safetensors file does not keep its tensors' order. "
            "Use a .pth file, or one with timm's names."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        document = torch.load(path, map_location="cpu", weights_only=True)
    # On bytes that are no weights, torch and safetensors raise types of half a dozen libraries.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise GraftError(
            f"backbone.weights: {path} cannot be read as weights ({reason}). {THREE_WAYS}"
        ) from error
    tensors = document.get("state_dict", document) if isinstance(document, dict) else document
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise GraftError(f"backbone.weights: {path} does not hold named tensors. {THREE_WAYS}")
    return tensors


def fit_weights(model: nn.Module, tensors: Tensors, mapping: Literal["names", "order"], source: str) -> None:
    """Load tensors into a network, all of them, each into one of the network's.

    Args:
        model: The network, with the head that the weights were trained with.
        tensors: The tensors that the file holds, by their names.
        mapping: ``names``: the names are the network's. ``order``: the names differ, but the tensors stand in
            the same order; then every pair must agree in shape and in kind (weight, bias, running mean or
            variance).
        source: Where the tensors come from, for the error.

    Raises:
        GraftError: Anything is missing, left over, or does not fit; the first few are listed.
    """
    expected = {name: value for name, value in model.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: value for name, value in tensors.items() if not name.endswith(COUNTER)}
    renamed = _by_order(expected, given, source) if mapping == "order" else given
    misfits = [f"`{name}` is missing" for name in expected.keys() - renamed.keys()]
    misfits += [f"`{name}` is not in the network" for name in renamed.keys() - expected.keys()]
    misfits += [
        f"`{name}` is {tuple(renamed[name].shape)}, the network's {tuple(expected[name].shape)}"
        for name in expected.keys() & renamed.keys()
        if renamed[name].shape != expected[name].shape
    ]
    _refuse(misfits, source)
    state = model.state_dict()  # with the versions of its layers, without which some refuse any tensors
    state.update(renamed)
    model.load_state_dict(state)


def _by_order(expected: Tensors, given: Tensors, source: str) -> dict[str, torch.Tensor]:
    """Return a file's tensors under the names of the network's tensors, which stand in the same order."""
    if len(expected) != len(given):
        _refuse([f"the file has {len(given)} tensors, the network {len(expected)}"], source)
    pairs = list(zip(expected.items(), given.items(), strict=True))
    _refuse(
        [
            f"`{theirs}` {tuple(value.shape)} stands where the network has `{ours}` {tuple(target.shape)}"
            for (ours, target), (theirs, value) in pairs
            if target.shape != value.shape or _kind(ours) != _kind(theirs)
        ],
        source,
    )
    return {ours: value for (ours, _), (_, value) in pairs}


def _kind(name: str) -> str:
    """Return what a tensor is to its layer, the last part of its name: weight, bias, running mean …."""
    return name.rpartition(".")[2]


def _refuse(misfits: list[str], source: str) -> None:
    """Raise GraftError with the first five misfits, if there are any."""
    if misfits:
        shown = "; ".join(sorted(misfits)[:5])
        more = f"; and {len(misfits) - 5} more" if len(misfits) > 5 else ""
        raise GraftError(
            f"backbone.weights: {source} does not fit the backbone: {shown}{more}. "
            "Check backbone.name and the file; `mapping: order` fits files whose names differ "
            "but whose tensors stand in the same order."
        )


def describe_hub_failure(name: str, error: BaseException) -> GraftError:
    """Return the error for weights that the hub does not give, with the other ways to give them.

    Args:
        name: timm's name of the architecture.
        error: What the hub's client raised.
    """
    return GraftError(
        f"backbone.weights: the hub did not give weights for `{name}` ({reason_of(error)}). {THREE_WAYS}"
    )
