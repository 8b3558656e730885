"""The network from timm, and the way in which pixels become its input."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import resolve_data_config
from timm.models._manipulate import group_with_matcher
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.omission import set_omission
from pipeline.modalities.image.pooled import PooledNetwork, TimmBody
from pipeline.modalities.image.recipe import Image, ImageBackbone
from pipeline.modalities.image.rules import decoding_rules
from pipeline.modalities.image.sources import timm_models
from pipeline.modalities.image.sources.registry import source_of
from pipeline.modalities.image.sources.source import FileSource
from pipeline.modalities.image.weight_values import refuse_infinite_parameters
from pipeline.modalities.image.weights import fit_weights, read_weights
from pipeline.modalities.layers import depths_by_structure, norm_names, rate_groups
from pipeline.modalities.training import ParameterGroup
from serving.model.inputs.image.spec import ImageInputSpec


@dataclass(frozen=True)
class Normalisation:
    """The normalisation of pixels that are scaled to [0, 1].

    Attributes:
        mean: Mean of the channels red, green and blue.
        std: Standard deviation of the same channels.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift, both float32 of shape (3,): ``pixels * scale + shift`` normalises uint8."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return 1 / (255 * std), -mean / std


def create_network(
    name: str,
    classes: int | None = None,
    size_px: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Create the network that a name stands for, with random weights.

    Args:
        name: Name of the architecture, with the prefix of its source; without one it is timm's.
        classes: Number of outputs of the head; None, the default, for as many as the pretrained weights have.
        size_px: Side of the pictures in pixels, for networks that are made for one size; None, the default,
            for the side that it was pretrained with.
        arguments: Further arguments of timm's architecture; none by default.

    Raises:
        GraftError: There is no such network; the nearest names are listed.
    """
    source, rest = source_of(name)
    if arguments:
        return timm_models.create(rest, classes, size_px, arguments)
    return source.create(rest, classes, size_px)


def create_pretrained(backbone: ImageBackbone, size_px: int | None = None) -> nn.Module:
    """Create the recipe's backbone with its pretrained weights and its pretrained head, in evaluation mode.

    Args:
        backbone: The recipe's section ``backbone``.
        size_px: Side of the pictures in pixels, for networks that are made for one size; None, the default,
            for the side that it was pretrained with.

    Raises:
        GraftError: The name is unknown, or the weights are not there, do not fit or are not finite.
    """
    network = _create_loaded(backbone, size_px)
    refuse_infinite_parameters(network, backbone.name if backbone.weights == "hub" else backbone.weights)
    return network


def _create_loaded(backbone: ImageBackbone, size_px: int | None) -> nn.Module:
    """Create the recipe's backbone with its pretrained weights, as its source has them."""
    source, rest = source_of(backbone.name)
    if backbone.weights == "hub":
        return source.create_pretrained(rest, size_px)
    if isinstance(source, FileSource):
        return source.create_from(rest, backbone.weights, backbone.mapping, size_px)
    model = source.create(rest, size_px=size_px)
    tensors = read_weights(backbone.weights, backbone.mapping)
    try:
        fit_weights(model, tensors, backbone.mapping, backbone.weights)
    except GraftError:
        if size_px is not None:
            own = source.create(rest)
            fit_weights(own, tensors, backbone.mapping, backbone.weights)
            # They fit at the network's own size, so that only the size is at fault.
            raise timm_models.cannot_resample(backbone.name, size_px, own) from None
        raise
    return model.eval()


def describe_input(model: nn.Module, image: Image) -> tuple[ImageInputSpec, Normalisation]:
    """Return the input that a network was pretrained with, changed where the recipe says so.

    Args:
        model: timm's network with its pretrained configuration.
        image: The recipe's section ``image``.

    Returns:
        The spec of the pictures, and the normalisation of their pixels.

    Raises:
        GraftError: The network takes pictures of other than three channels, or was made for another size
            than the recipe asks for.
    """
    config = resolve_data_config({}, model=model)
    if config["input_size"][0] != len("rgb"):
        raise GraftError(
            f"backbone.name: the network takes pictures of {config['input_size'][0]} channels, not of red,"
            " green and blue. Choose another."
        )
    fixed = getattr(model, "pretrained_cfg", {}).get("fixed_input_size", False)
    if fixed and image.size and (image.size, image.size) != tuple(config["input_size"][1:]):
        raise GraftError(
            f"image.size: {image.size}, but this backbone takes pictures of {config['input_size'][1]} pixels "
            "only. Leave it out."
        )
    height, width = (image.size, image.size) if image.size else config["input_size"][1:]
    crop_mode = image.crop_mode or ("squash" if config["crop_mode"] == "squash" else "center")
    spec = ImageInputSpec(
        height=height,
        width=width,
        crop_pct=image.crop_pct or min(config["crop_pct"], 1.0),
        crop_mode=crop_mode,
        interpolation=image.interpolation or config["interpolation"],
        resizer=image.resizer,
        reducing_gap=image.reducing_gap,
        **decoding_rules(image),
    )
    return spec, Normalisation(image.mean or tuple(config["mean"]), image.std or tuple(config["std"]))


def to_input(pixels: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    """Normalise pixels into a network's input.

    Args:
        pixels: Pixels from 0 to 255, uint8 or float32 of shape (batch, height, width, 3).
        normalisation: The normalisation that the network was pretrained with.

    Returns:
        float32 of shape (batch, 3, height, width), in channels_last memory, so that no layout is copied.
    """
    scale, shift = (value.to(pixels.device) for value in normalisation.scale_and_shift())
    return (pixels.to(torch.float32) * scale + shift).permute(0, 3, 1, 2)


class ImageClassifier(nn.Module):
    """A network from uint8 pictures of shape (batch, height, width, 3) to logits of shape (batch, classes).

    Args:
        network: timm's network, from normalised pictures to logits.
        normalisation: The normalisation of the pixels.
    """

    half_precision_part = "network"

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self._memory_format = torch.contiguous_format

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise pictures and run the network: logits, float32 of shape (batch, classes).

        Args:
            image: Pixels from 0 to 255, uint8 or float32 of shape (batch, height, width, 3).
        """
        return self.network(self._input(image))  # type: ignore[no-any-return]

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """Return the backbone's pooled features, float32 of shape (batch, features)."""
        features = self.network.forward_features(self._input(image))  # type: ignore[operator]
        return self.network.forward_head(features, pre_logits=True)  # type: ignore[no-any-return,operator]

    def _input(self, image: torch.Tensor) -> torch.Tensor:
        """Return normalised pixels, float32 of shape (batch, 3, height, width)."""
        # Contiguous in one format or the other: otherwise an exported graph gains shape arithmetic.
        return to_input(image, self.normalisation).contiguous(memory_format=self._memory_format)

    def set_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Put a linear head in place of the network's own.

        Args:
            weight: The head's matrix, float32 of shape (classes, features).
            bias: The head's bias, float32 of shape (classes,).

        Raises:
            GraftError: The network's head is not one linear layer.
        """
        with torch.random.fork_rng(devices=[]):  # the new head's first weights, which do not stay
            self.network.reset_classifier(len(bias))  # type: ignore[operator]
        head = self.network.get_classifier()  # type: ignore[operator]
        if not isinstance(head, nn.Linear):
            raise GraftError(
                f"backbone.name: the head of {type(self.network).__name__} is not one linear layer, "
                "which is what Graft trains. Choose another."
            )
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))

    def saved(self) -> nn.Module:
        """Return the network, whose tensors have timm's names."""
        return self.network

    def head_name(self) -> str:
        """Return the name of the head's module within the network."""
        head = self.network.get_classifier()  # type: ignore[operator]
        names: dict[nn.Module, str] = {module: name for name, module in self.network.named_modules()}
        return names[head]

    def depths(self, names: Sequence[str]) -> dict[str, int]:
        """Return the group of each parameter that timm declares, as :meth:`Layered.depths` describes it.

        A network of timm that declares none, or only one for all, is grouped by its own structure.
        """
        head = self.head_name()
        declare: Any = getattr(self.network, "group_matcher", None)
        if declare is not None:
            matcher = declare(coarse=False)
            depths: dict[str, int] = group_with_matcher(
                ((name, name) for name in names), matcher, reverse=True
            )
            if len(set(depths.values())) > 1:
                top = max(depths.values())
                return {name: top if name.startswith(f"{head}.") else depth for name, depth in depths.items()}
        return depths_by_structure(self.network, names, head, self._run_once)

    def _run_once(self) -> None:
        """Run the network on one black picture of the size that it was pretrained with."""
        size = resolve_data_config({}, model=self.network)["input_size"]
        self.network(torch.zeros(1, *size, device=next(self.network.parameters()).device))

    def parameter_groups(
        self, learning_rate: float, layer_decay: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return a group for each of timm's layers, as :meth:`Classifier.parameter_groups` describes it.

        Besides biases and norms, timm's networks name parameters without weight decay: those of positions.
        """
        parameters = list(self.network.named_parameters())
        depths = self.depths([name for name, _ in parameters])
        return rate_groups(parameters, depths, (learning_rate, layer_decay, weight_decay), self.undecayed())

    def undecayed(self) -> set[str]:
        """Return the names of the parameters that are matrices and yet get no weight decay."""
        declare: Any = getattr(self.network, "no_weight_decay", tuple)
        patterns: Collection[str] = declare()
        by_timm = {
            name
            for name, _ in self.network.named_parameters()
            if any(fnmatch(name, pattern) or fnmatch(name, f"*.{pattern}") for pattern in patterns)
        }
        return by_timm | norm_names(self.network)

    def set_dropout(self, share: float) -> None:
        """Set timm's dropout before the head, as :meth:`Omitting.set_dropout` describes it."""
        if isinstance(self.network, PooledNetwork):
            self.network.set_dropout(share)
            return
        set_omission(self.network, "Dropout", share, "finetune.dropout")

    def set_drop_path(self, rate: float) -> None:
        """Set timm's stochastic depth, as :meth:`Omitting.set_drop_path` describes it."""
        body = self.network.body if isinstance(self.network, PooledNetwork) else None
        network = body.network if isinstance(body, TimmBody) else self.network
        set_omission(network, "DropPath", rate, "finetune.drop_path")

    def prepare(self) -> None:
        """Hold weights and inputs in channels_last memory, and let activations leave their input as it is."""
        self._memory_format = torch.channels_last
        self.network.to(memory_format=torch.channels_last)
        for module in self.network.modules():
            # ReLU6 is a Hardtanh: in place, autograd first clones its input, for the same bits.
            if isinstance(module, nn.Hardtanh):
                module.inplace = False
