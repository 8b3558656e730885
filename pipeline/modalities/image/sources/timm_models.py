"""The networks of timm, which are named without a prefix, or ``hf-hub:ORGANISATION/NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import load_model_config_from_hf
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.sources.timm_names import describe_unknown
from pipeline.modalities.image.weights import describe_hub_failure, fit_weights
from pipeline.modalities.reasons import reason_of

HUB = "hf-hub:"
OWN_KEYS = ("img_size", "num_classes", "in_chans")
"""Arguments of configurations of the hub that a checkpoint's card holds elsewhere."""
STEPS = (14, 16, 32, 64)
"""Steps in pixels in which networks that divide pictures take sizes."""
TAG_MISSING = "Invalid pretrained tag"
"""Beginning of the message of timm where an architecture has no weights of a tag."""
MISFIT = "Error(s) in loading state_dict"
"""Beginning of the message of torch where tensors do not fit a network."""


def create(
    name: str,
    classes: int | None = None,
    size_px: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Create a network of timm with random weights, as :meth:`NetworkSource.create` describes it.

    Args:
        name: timm's name, or a name of the hub, whose configuration is read from there or from its cache.
        classes: Number of outputs of the head; None, the default, for as many as it was pretrained with.
        size_px: Side of the pictures in pixels; None, the default, for the one that it was pretrained with.
        arguments: Further arguments of the architecture, as configurations of the hub have them; none by
            default.

    Raises:
        GraftError: There is no such network, or it cannot be created for that size.
    """
    sized = size_px is not None and _takes_one_size(name)
    options = _options(classes, size_px if sized else None) | dict(arguments or {})
    try:
        network: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # each architecture refuses in its own way
        raise _refusal(name, size_px if sized else None, error) from error
    return _with_size(network, size_px) if sized else network


def create_pretrained(name: str, size_px: int | None = None) -> nn.Module:
    """Create a network with its weights from the hub, as :meth:`NetworkSource.create_pretrained` does.

    timm itself resamples what depends on the size of the pictures.
    """
    create(name, size_px=size_px)
    sized = size_px is not None and _takes_one_size(name)
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=True, **_options(None, size_px if sized else None)
        )
    except Exception as error:  # the hub's client raises many unrelated types
        if sized and str(error).startswith(MISFIT):
            return _refit(name, size_px)
        raise describe_hub_failure(name, error) from error
    return (_with_size(network, size_px) if sized else network).eval()


def _refit(name: str, size_px: int | None) -> nn.Module:
    """Create a network for a size to which timm's own loading does not resample its weights."""
    own: nn.Module = timm.create_model(name, pretrained=True)
    network = create(name, size_px=size_px)
    try:
        fit_weights(network, own.state_dict(), "names", name)
    except GraftError as error:
        raise cannot_resample(name, size_px, own) from error
    return network.eval()


def cannot_resample(name: str, size_px: int | None, own: nn.Module) -> GraftError:
    """Return the error for weights that fit a network only at its own size.

    Args:
        name: Name of the network.
        size_px: Side of the pictures in pixels that it was to be made for.
        own: The network as it was pretrained.
    """
    return GraftError(
        f"image.size: {size_px}, but what `{name}` knows of positions cannot be resampled."
        f" It takes {resolve_data_config({}, model=own)['input_size'][-1]}."
    )


def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """Return timm's own name of an architecture, and the further arguments that the hub has for it.

    Args:
        name: timm's name, or a name of the hub.
    """
    if not name.startswith(HUB):
        return name, {}
    _, architecture, arguments = _configuration(name)
    return architecture, {key: value for key, value in arguments.items() if key not in OWN_KEYS}


def size_of(architecture: str, network: nn.Module) -> int | None:
    """Return the side in pixels that a network was made for; None where that is its architecture's own.

    Args:
        architecture: timm's name of the architecture.
        network: The network.
    """
    known = timm.get_pretrained_cfg(architecture)
    if known is None or not known.fixed_input_size:
        return None
    side: int = resolve_data_config({}, model=network)["input_size"][-1]
    return None if side == known.input_size[-1] else side


def _options(classes: int | None, size_px: int | None) -> dict[str, Any]:
    """Return timm's arguments for a number of classes and a size, where they are given."""
    options = {"num_classes": classes, "img_size": size_px}
    return {key: value for key, value in options.items() if value is not None}


def _configuration(name: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Read what the hub, or its cache, says of a network.

    Returns:
        How it was pretrained, timm's name of the architecture, and its further arguments.

    Raises:
        GraftError: It is not there.
    """
    try:
        config, architecture, arguments = load_model_config_from_hf(name.removeprefix(HUB))
    except Exception as error:  # the hub's client raises many unrelated types
        raise describe_hub_failure(name, error) from error
    return config, architecture, arguments


def _takes_one_size(name: str) -> bool:
    """Say whether a network is made for pictures of one size, as vision transformers are."""
    name = _configuration(name)[1] if name.startswith(HUB) else name
    known = timm.get_pretrained_cfg(name) if _is_known(name) else None
    return bool(known and known.fixed_input_size)


def _is_known(name: str) -> bool:
    """Say whether timm has a network of that name, and pretrained weights of the tag behind its dot."""
    try:
        return bool(timm.is_model(name))
    except RuntimeError:  # the tag is none of the network's
        return False


def _with_size(network: Any, size_px: int | None) -> nn.Module:  # noqa: ANN401 - see below
    """Note in a network's configuration the size that it was created for."""
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, size_px, size_px)}
    return network  # type: ignore[no-any-return]


def _refusal(name: str, size_px: int | None, error: Exception) -> GraftError:
    """Return the error for a network that timm does not create."""
    if name.startswith(HUB):
        return describe_hub_failure(name, error)
    if size_px is not None:
        return GraftError(
            f"image.size: {size_px}, which timm cannot make `{name}` for ({reason_of(error)})."
            f"{_nearest(name, size_px)}"
        )
    if _is_known(name) and TAG_MISSING not in str(error):
        return GraftError(f"backbone.name: timm cannot create `{name}` ({reason_of(error)}). Choose another.")
    return GraftError(f"backbone.name: {describe_unknown(name)}")


def sizes_near(network: nn.Module, size_px: int) -> str:
    """Return a sentence with sizes of pictures near one that a network cannot take, as far as they are known.

    Args:
        network: The network.
        size_px: The side of the pictures in pixels that it cannot take.
    """
    config = getattr(network, "pretrained_cfg", None) or {}
    architecture = config.get("architecture")
    if not architecture or not _is_known(architecture):
        return " Choose another size, or another backbone."
    return _nearest(architecture, size_px)


def _nearest(name: str, size_px: int) -> str:
    """Return the sentence of :func:`sizes_near` for an architecture: the next sizes below and above."""
    known = timm.get_pretrained_cfg(name)
    steps = {size_px // step * step + more for step in STEPS for more in (0, step)} - {0, size_px}
    below = sorted((size for size in steps if size < size_px), reverse=True)
    above = sorted(size for size in steps if size > size_px)
    sizes = [next((size for size in some if _takes(name, size)), None) for some in (below, above)]
    taken = sorted({size for size in [*sizes, known and known.input_size[-1]] if size} - {size_px})
    if not taken:
        return " Choose another backbone."
    return f" It takes {', '.join(map(str, taken[:-1]))}{' and ' if taken[1:] else ''}{taken[-1]}."


def _takes(name: str, size_px: int) -> bool:
    """Say whether an architecture takes pictures of a size, without memory for weights or work."""
    options = _options(None, size_px if _takes_one_size(name) else None)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.inference_mode():
            timm.create_model(name, **options).eval()(torch.zeros(1, 3, size_px, size_px))
    except Exception:  # each architecture refuses in its own way
        return False
    return True
