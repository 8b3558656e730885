"""torchvision's networks that classify pictures: ``torchvision:NAME`` or ``torchvision:NAME.WEIGHTS``."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from pipeline.errors import GraftError
from pipeline.modalities.image.names import TORCHVISION
from pipeline.modalities.image.pooled import PooledNetwork
from pipeline.modalities.image.sources.heads import fit_body, last_linear, pool
from pipeline.modalities.image.weights import describe_hub_failure, read_weights
from pipeline.modalities.reasons import reason_of

Tensors = dict[str, torch.Tensor]
# Tensors of heads that only torchvision's own training uses.
_AUXILIARY = re.compile(r"(^|\.)(aux1|aux2|AuxLogits)\.")
# The names of DenseNet's tensors in torchvision's files, which torchvision renames when it reads them.
_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
SQUEEZENET_FEATURES = 512


@dataclass(frozen=True)
class ChosenWeights:
    """A network of torchvision, and the weights that say how it was pretrained.

    Attributes:
        architecture: torchvision's name of the network.
        weights: One of torchvision's own sets of weights for it.
        size_px: Side of the pictures in pixels that it is made for.
    """

    architecture: str
    weights: models.WeightsEnum
    size_px: int

    def config(self) -> dict[str, object]:
        """Return how it was pretrained, by its weights' own transforms, as timm's configuration names it."""
        preset: Any = self.weights.transforms()
        return {
            "input_size": (3, self.size_px, self.size_px),
            "mean": tuple(preset.mean),
            "std": tuple(preset.std),
            "interpolation": preset.interpolation.value,
            "crop_pct": preset.crop_size[0] / preset.resize_size[0],
            "crop_mode": "center",
            # Their position embeddings and their windows are made for one size.
            "fixed_input_size": self.architecture.startswith(("vit_", "maxvit")),
        }

    def options(self) -> dict[str, object]:
        """Return what torchvision itself creates the pretrained network with."""
        options: dict[str, object] = {"num_classes": len(self.weights.meta["categories"])}
        if self.architecture.startswith("vit_"):
            options["image_size"] = self.size_px
        if self.architecture in {"googlenet", "inception_v3"}:
            # It changes the normalisation of its input to the one that its weights were made with.
            options |= {"transform_input": True, "aux_logits": False, "init_weights": False}
        return options


def choose(name: str, size_px: int | None = None) -> ChosenWeights:
    """Return the network and the weights that a name stands for.

    Args:
        name: torchvision's name of the network, and optionally a dot and the name of one of its sets of
            weights, such as ``resnet50.IMAGENET1K_V1``; without it torchvision's default.
        size_px: Side of the pictures in pixels, for vision transformers; the others are made for that of
            their weights, which is the default.

    Raises:
        GraftError: There is no such network, or no such set; the nearest names are listed.
    """
    architecture, dot, tag = name.partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        raise GraftError(
            f"backbone.name: torchvision has no `{architecture}` that classifies pictures. Near it: "
            f"{', '.join(near) or 'nothing'}; all: graft backbones --find {TORCHVISION}:"
        )
    sets = models.get_model_weights(architecture)
    if dot and tag not in sets.__members__:
        raise GraftError(
            f"backbone.name: torchvision has no weights `{tag}` for {architecture}; "
            f"it has {', '.join(sets.__members__)}."
        )
    weights = sets[tag] if dot else sets.DEFAULT
    own_px: int = weights.transforms().crop_size[0]
    return ChosenWeights(
        architecture, weights, (size_px or own_px) if architecture.startswith("vit_") else own_px
    )


def create(name: str, classes: int | None = None, size_px: int | None = None) -> nn.Module:
    """Create a network with random weights, as :meth:`NetworkSource.create` describes it."""
    chosen = choose(name, size_px)
    return _behead(_create_plain(chosen), chosen, classes)


def create_pretrained(name: str, size_px: int | None = None) -> nn.Module:
    """Create a network with torchvision's weights, as :meth:`NetworkSource.create_pretrained` does.

    They come from the cache of PyTorch Hub (``TORCH_HOME``), or else from the network.
    """
    chosen = choose(name, size_px)
    try:
        tensors = chosen.weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # what a download or a damaged file raises is of many unrelated types
        raise describe_hub_failure(f"{TORCHVISION}:{name}", error) from error
    return _load(chosen, dict(tensors), "names", chosen.weights.url)


def create_from(
    name: str, weights: str, mapping: Literal["names", "order"], size_px: int | None = None
) -> nn.Module:
    """Create a network with the weights of a file, as :meth:`FileSource.create_from` does."""
    return _load(choose(name, size_px), read_weights(weights, mapping), mapping, weights)


def _create_plain(chosen: ChosenWeights) -> nn.Module:
    """Create torchvision's own network with random weights.

    Raises:
        GraftError: It cannot be made for pictures of that size; the nearest sizes are listed.
    """
    try:
        model: nn.Module = models.get_model(chosen.architecture, weights=None, **chosen.options())
    except Exception as error:  # each architecture refuses in its own way
        raise GraftError(
            f"image.size: {chosen.size_px}, which torchvision cannot make `{chosen.architecture}` for "
            f"({reason_of(error)}).{_sizes_near(chosen)}"
        ) from error
    return model


def _sizes_near(chosen: ChosenWeights) -> str:
    """Return a sentence with the next sizes of pictures below and above that a network takes, and its own.

    Vision transformers alone are made for a size, which has to be a multiple of that of their patches, the
    last part of their name.
    """
    own_px: int = chosen.weights.transforms().crop_size[0]
    patch = chosen.architecture.rpartition("_")[2]
    step = int(patch) if patch.isdecimal() else own_px
    below = chosen.size_px // step * step
    sizes = sorted({below, below + step, own_px} - {0, chosen.size_px})
    return f" It takes {', '.join(map(str, sizes[:-1]))}{' and ' if sizes[1:] else ''}{sizes[-1]}."


def _load(
    chosen: ChosenWeights, tensors: dict[str, torch.Tensor], mapping: Literal["names", "order"], source: str
) -> nn.Module:
    """Create a network, and load tensors of torchvision's names into it."""
    network = _create_plain(chosen)
    given = {
        _DENSE.sub(r"\1\2", name): value for name, value in tensors.items() if not _AUXILIARY.search(name)
    }
    if isinstance(network, models.VisionTransformer):
        given = _resampled(network, given)
    head = _head_of(network)
    pooled = _behead(network, chosen, None)
    fit_body(pooled, given, head, mapping, source)
    return pooled.eval()


def _resampled(network: models.VisionTransformer, tensors: Tensors) -> Tensors:
    """Return the tensors of a vision transformer with its position embeddings at the network's size."""
    name = "encoder.pos_embedding"
    if name not in tensors or tensors[name].shape == network.state_dict()[name].shape:
        return tensors
    try:
        return dict(interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(tensors)))
    except Exception as error:  # shapes that are none of a square grid's fail in several ways
        raise GraftError(
            f"backbone.weights: the position embeddings cannot be resampled for pictures of "
            f"{network.image_size} pixels ({reason_of(error)})."
        ) from error


def _head_of(network: nn.Module) -> str:
    """Return the name of the module of torchvision's network that gives the logits."""
    return "classifier.1" if isinstance(network, models.SqueezeNet) else str(last_linear(network))


def _behead(network: nn.Module, chosen: ChosenWeights, classes: int | None) -> PooledNetwork:
    """Return a body with a linear head, of torchvision's network."""
    config = chosen.config()
    if not isinstance(network, models.SqueezeNet):
        own_px = chosen.weights.transforms().crop_size[0]
        size_px = chosen.size_px if chosen.size_px != own_px else None
        return pool(network, _head_of(network), classes, config, size_px)
    # Its head is a convolution before the pooling, for which a linear one after it is no exact substitute.
    network.classifier = nn.Sequential(network.classifier[0], nn.AdaptiveAvgPool2d(1))
    count = classes or len(chosen.weights.meta["categories"])
    return PooledNetwork(network, SQUEEZENET_FEATURES, count, config)
