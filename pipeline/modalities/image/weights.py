"""Pretrained weights, loaded into a network's backbone exactly or refused, and never random in silence."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.modalities.image.authors import convert_authors
from pipeline.modalities.image.head_parts import head_tensors
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.positions import resample_positions
from pipeline.modalities.image.weight_files import THREE_WAYS, file_of, keeps_no_order, read_tensors
from pipeline.modalities.image.weight_names import is_aside, is_of_positions, loose_heads, prefixes_of
from pipeline.modalities.image.weight_values import refuse_values
from pipeline.modalities.reasons import reason_of

log = logging.getLogger("graft")
Tensors = Mapping[str, torch.Tensor]
COUNTER = "num_batches_tracked"  # a counter, not a weight: older files lack it
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
"""What wrappers put before names; any other prefix is found by the names behind it."""
BODY = "body."
MATRIX = 2  # dimensions of the weight of a linear layer


def read_weights(source: str, mapping: Literal["names", "order"] = "names") -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of one that torch saved, without running code in it.

    Args:
        source: Path of the file, or ``package:NAME/PATH``.
        mapping: ``names``, the default, or ``order``, which needs a file that keeps its tensors' order.

    Raises:
        GraftError: There is no such file, or it holds something else than named tensors.
    """
    path = file_of(locate(source, "backbone.weights"))
    if mapping == "order" and (path.suffix == ".safetensors" or keeps_no_order(path)):
        raise GraftError(
            "backbone.mapping: a safetensors file does not keep its tensors' order. "
            "Use a .pth file, or one with timm's names."
        )
    return read_tensors(path)


@dataclass(frozen=True)
class Target:
    """The tensors of a network that weights are wanted for.

    Attributes:
        backbone: The backbone's tensors, by their names within it.
        head: The head's tensors, by their names.
        order: All of these names, in the network's order.
        place: What stands before the backbone's names in the whole network.
    """

    backbone: Tensors
    head: Tensors
    order: tuple[str, ...]
    place: str = ""


@dataclass(frozen=True)
class WeightsFit:
    """A file's tensors beside a network's.

    Attributes:
        backbone: The file's tensors of the backbone, by the network's names.
        head: Those of the head; empty where they do not fit it.
        misfits: What is missing, left over or of another shape in the backbone, a clause each.
        aside: Names of the file's tensors that are not of the backbone.
        misshapen: Whether the misfits are of shapes alone; False by default.
    """

    backbone: Tensors
    head: Tensors
    misfits: list[str]
    aside: list[str]
    misshapen: bool = False


def fit_weights(model: nn.Module, tensors: Tensors, mapping: Literal["names", "order"], source: str) -> None:
    """Load tensors into a network: exactly one into each of its backbone's.

    The head, which a fine-tuning replaces, is loaded where it fits, and is 0 where it does not: a file may
    have another one, or none. Prefixes of wrappers are taken off where that makes the names fit. Where a
    file has the names of a network's authors, or positions of pictures of another size, timm's own
    conversion is applied.

    Args:
        model: The network.
        tensors: The tensors that the file holds, by their names.
        mapping: ``names``: the names are the network's. ``order``: the names differ, but the tensors stand in
            the same order; then every pair must agree in shape and in kind (weight, bias, running mean or
            variance).
        source: Where the tensors come from, for the error.

    Raises:
        GraftError: Anything of the backbone is missing, left over, or does not fit, or has values that are no
            finite floats where the network has floats; the first few are listed.
    """
    target = target_of(model)
    given = {name: value for name, value in tensors.items() if not name.endswith(COUNTER)}
    if mapping == "order":
        fit = _by_order(target, given)
    else:
        fit = _by_names(target, given)
        fit = (_converted(model, target, given, fit) or fit) if fit.misfits else fit
    _refuse(fit.misfits, source)
    refuse_values({**target.backbone, **target.head}, {**fit.backbone, **fit.head}, source)
    named = {f"{target.place}{name}": value for name, value in fit.backbone.items()} | dict(fit.head)
    state = model.state_dict()  # with the versions of its layers, without which some refuse any tensors
    state.update(named)
    model.load_state_dict(state)
    if target.head and not fit.head:
        log.info("backbone: %s has no head that fits; the new one is trained", source)
        own = model.state_dict()
        for name in target.head:
            own[name].zero_()
    if fit.aside:
        log.info(
            "backbone: %d tensors of %s are not the backbone's, such as `%s`",
            len(fit.aside),
            source,
            fit.aside[0],
        )


def target_of(model: nn.Module) -> Target:
    """Return the tensors of a network's backbone and of its head."""
    head = head_tensors(model)
    place = BODY if isinstance(model, PooledNetwork) else ""
    state = {name: value for name, value in model.state_dict().items() if not name.endswith(COUNTER)}
    backbone = {name.removeprefix(place): value for name, value in state.items() if name not in head}
    order = tuple(name if name in head else name.removeprefix(place) for name in state)
    return Target(backbone, {name: value for name, value in state.items() if name in head}, order, place)


def _by_names(target: Target, given: Tensors) -> WeightsFit:
    """Return a file's tensors by their names, without the prefix under which it has the backbone."""
    prefixes = prefixes_of(target.backbone, given)
    prefix = prefixes[0]
    inside = {name[len(prefix) :]: value for name, value in given.items() if name.startswith(prefix)}
    outside = {name: value for name, value in given.items() if not name.startswith(prefix)}
    backbone = {name: value for name, value in inside.items() if name in target.backbone}
    over = [name for name in inside if name not in target.backbone and name not in target.head]
    tops = {name.partition(".")[0] for name in target.backbone}
    width = next((value.shape[1] for value in target.head.values() if value.ndim == MATRIX), 0)
    loose = loose_heads(over, tops, {name: value.shape for name, value in inside.items()}, width)
    strays = [name for name in over if not is_aside(name) and name not in loose]
    strays += [name for name in outside if name.partition(".")[0] in tops]
    misfits = [f"`{name}` is missing" for name in target.backbone.keys() - backbone.keys()]
    misfits += [f"`{name}` is not in the network" for name in strays]
    shapes = _misshapen(target.backbone, backbone)
    named = not misfits
    misfits += shapes
    if len(prefixes) > 1 and not misfits and "ema" in prefix:
        log.info("backbone.weights: the averaged tensors `%s*` are taken, not `%s*`", *prefixes[:2])
    elif len(prefixes) > 1 and not misfits and prefix:
        misfits = [f"it has the backbone more than once, as `{'`, `'.join(p + '*' for p in prefixes)}`"]
    aside = [*over, *outside]
    head = _head_of(target, inside | outside, loose)
    return WeightsFit(backbone, head, misfits, aside, named and bool(shapes))


def _misshapen(expected: Tensors, given: Tensors) -> list[str]:
    """Return a clause for each tensor that has another shape than the network's."""
    return [
        f"`{name}` is {tuple(value.shape)}, the network's {tuple(expected[name].shape)}"
        for name, value in given.items()
        if value.shape != expected[name].shape
    ]


def _head_of(target: Target, given: Tensors, loose: Collection[str]) -> Tensors:
    """Return the tensors of the head, or of the only linear layer aside of the backbone with its shape."""
    named = {name: given[name] for name in target.head if name in given}
    if len(named) == len(target.head) and not _misshapen(target.head, named):
        return named
    weight, bias = (next((n for n in target.head if n.endswith(end)), "") for end in ("weight", "bias"))
    if len(target.head) != len((weight, bias)) or not (weight and bias):
        return {}
    layers = [
        name.removesuffix("weight")
        for name, value in given.items()
        if (is_aside(name) or name in loose)
        and name.endswith("weight")
        and value.shape == target.head[weight].shape
    ]
    if len(layers) != 1 or f"{layers[0]}bias" not in given:
        return {}
    found = {weight: given[f"{layers[0]}weight"], bias: given[f"{layers[0]}bias"]}
    return {} if _misshapen(target.head, found) else found


def _converted(model: nn.Module, target: Target, given: Tensors, fit: WeightsFit) -> WeightsFit | None:
    """Return the fit of what timm's own conversion makes of a file's tensors; None where that fits not."""
    known = {**fit.backbone, **fit.head} if fit.misshapen else given
    for made in (convert_authors(model, known, PREFIXES), resample_positions(target.backbone, known)):
        if made is None:
            continue
        tensors = {name: value for name, value in made.items() if not name.endswith(COUNTER)}
        result = _by_names(target, tensors)
        resized = [name for name, _ in _pairs_of_other_shape(fit.backbone, result.backbone)]
        if result.misfits or not all(is_of_positions(name) for name in resized):
            continue
        if resized:
            log.info(
                "backbone: %d tensors of positions are resampled, such as `%s`", len(resized), resized[0]
            )
        return WeightsFit(result.backbone, result.head, [], fit.aside)
    return None


def _pairs_of_other_shape(before: Tensors, after: Tensors) -> list[tuple[str, torch.Tensor]]:
    """Return the tensors that have another shape than before."""
    return [
        (name, value) for name, value in after.items() if name in before and before[name].shape != value.shape
    ]


def _by_order(target: Target, given: Tensors) -> WeightsFit:
    """Return a file's tensors under the names of the network's tensors, which stand in the same order.

    The file may be without the head, or have another.
    """
    both = {**target.backbone, **target.head}
    everything = {name: both[name] for name in target.order}
    bare = {name: value for name, value in given.items() if not is_aside(name)}
    fits = [
        _in_order(target, expected, some)
        for expected, some in ((everything, given), (target.backbone, given), (target.backbone, bare))
        if len(expected) == len(some)
    ]
    if not fits:
        counts = f"the file has {len(given)} tensors, the network {len(everything)}"
        counts += f", or {len(target.backbone)} without its head" if target.head else ""
        return WeightsFit({}, {}, [counts], [])
    return next((fit for fit in fits if not fit.misfits), fits[0])


def _in_order(target: Target, expected: Tensors, given: Tensors) -> WeightsFit:
    """Return as many tensors of a file as are expected, in their order."""
    pairs = list(zip(expected.items(), given.items(), strict=True))
    other = {
        ours: f"`{theirs}` {tuple(value.shape)} stands where the network has `{ours}` {tuple(wanted.shape)}"
        for (ours, wanted), (theirs, value) in pairs
        if wanted.shape != value.shape or _kind(ours) != _kind(theirs)
    }
    renamed = {ours: value for (ours, _), (_, value) in pairs}
    head = {name: value for name, value in renamed.items() if name in target.head}
    return WeightsFit(
        {name: value for name, value in renamed.items() if name in target.backbone},
        {} if other.keys() & head.keys() else head,
        [clause for ours, clause in other.items() if ours not in target.head],
        [],
    )


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


def describe_hub_failure(
    name: str, error: BaseException, giver: str = "the hub", remedy: str = THREE_WAYS
) -> GraftError:
    """Return the error for weights that the hub does not give, with the other ways to give them.

    Args:
        name: timm's name of the architecture, or the name of another source's.
        error: What the hub's client raised.
        giver: Who was asked for the weights; the hub by default.
        remedy: The sentence with the other ways; by default those of networks whose files torch reads.
    """
    return GraftError(
        f"backbone.weights: {giver} did not give weights for `{name}` ({reason_of(error)}). {remedy}"
    )
