"""The network from timm, and how pixels become its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.data import resolve_data_config
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.image.recipe import Image, ImageBackbone
from pipeline.modalities.image.weights import describe_hub_failure, fit_weights, read_weights
from serving.model.inputs.image.spec import ImageInputSpec


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation, of pixels scaled to [0, 1], RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``pixels * scale + shift`` normalises uint8 pixels; both are float32 of shape (3,)."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return 1 / (255 * std), -mean / std


def create_network(name: str, classes: int | None = None) -> nn.Module:
    """The network that timm has under a name, with random weights.

    Args:
        name: timm's name.
        classes: Outputs of the head; None for as many as the pretrained weights have.

    Raises:
        GraftError: timm has no such network; the nearest names are listed.
    """
    try:
        model: nn.Module = (
            timm.create_model(name) if classes is None else timm.create_model(name, num_classes=classes)
        )
    except (RuntimeError, ValueError) as error:
        near = timm.list_models(f"*{name.partition('.')[0][:12]}*")[:5]
        raise GraftError(
            f"backbone.name: timm has no `{name}`. Near it: {', '.join(near) or 'nothing'}; all: timm.list_models()"
        ) from error
    return model


def create_pretrained(backbone: ImageBackbone) -> nn.Module:
    """The recipe's backbone with its pretrained weights and its pretrained head, in evaluation mode.

    Raises:
        GraftError: Unknown name, or weights that are not there or do not fit.
    """
    if backbone.weights == "hub":
        create_network(backbone.name)
        try:
            pretrained: nn.Module = timm.create_model(backbone.name, pretrained=True)
            return pretrained.eval()
        except Exception as error:  # the hub's client raises many unrelated types
            raise describe_hub_failure(backbone.name, error) from error
    model = create_network(backbone.name)
    fit_weights(model, read_weights(backbone.weights, backbone.mapping), backbone.mapping, backbone.weights)
    return model.eval()


def describe_input(model: nn.Module, image: Image) -> tuple[ImageInputSpec, Normalisation]:
    """The input that the network was pretrained with, changed where the recipe says so."""
    config = resolve_data_config({}, model=model)
    fixed = getattr(model, "pretrained_cfg", {}).get("fixed_input_size", False)
    if fixed and image.size and (image.size, image.size) != tuple(config["input_size"][1:]):
        raise GraftError(
            f"image.size: {image.size}, but this backbone takes pictures of {config['input_size'][1]} pixels only. Leave it out."
        )
    height, width = (image.size, image.size) if image.size else config["input_size"][1:]
    crop_mode = image.crop_mode or ("squash" if config["crop_mode"] == "squash" else "center")
    spec = ImageInputSpec(
        height=height,
        width=width,
        crop_pct=image.crop_pct or min(config["crop_pct"], 1.0),
        crop_mode=crop_mode,
        interpolation=image.interpolation or config["interpolation"],
    )
    return spec, Normalisation(tuple(config["mean"]), tuple(config["std"]))


def to_input(pixels: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    """Pixels of 0 to 255, (batch, H, W, 3), to normalised float32 (batch, 3, H, W), in channels_last memory: no copy of the layout."""
    scale, shift = (value.to(pixels.device) for value in normalisation.scale_and_shift())
    return (pixels.to(torch.float32) * scale + shift).permute(0, 3, 1, 2)


class ImageClassifier(nn.Module):
    """uint8 pictures (batch, H, W, 3) to logits (batch, classes).

    Args:
        network: timm's network; normalised pictures to logits.
        normalisation: Of its pixels.
    """

    half_precision_part = "network"

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self._memory_format = torch.contiguous_format

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise, then run the network. Pixels are uint8, or float32 of 0 to 255."""
        return self.network(self._input(image))  # type: ignore[no-any-return]

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """The backbone's pooled features, (batch, features)."""
        features = self.network.forward_features(self._input(image))  # type: ignore[operator]
        return self.network.forward_head(features, pre_logits=True)  # type: ignore[no-any-return,operator]

    def _input(self, image: torch.Tensor) -> torch.Tensor:
        # Contiguous in one format or the other: otherwise an exported graph gains shape arithmetic.
        return to_input(image, self.normalisation).contiguous(memory_format=self._memory_format)

    def set_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Put a linear head in place of the network's own.

        Raises:
            GraftError: Its head has another form, such as a distilled network's two.
        """
        self.network.reset_classifier(len(bias))  # type: ignore[operator]
        head = self.network.get_classifier()  # type: ignore[operator]
        if not isinstance(head, nn.Linear):
            raise GraftError(
                f"backbone.name: the head of {type(self.network).__name__} is not one linear layer, which is what Graft trains. "
                "Choose another."
            )
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))

    def saved(self) -> nn.Module:
        """The network, under timm's names."""
        return self.network

    def parameter_groups(
        self, learning_rate: float, layer_decay: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """Timm's groups."""
        if layer_decay == 1:
            groups = param_groups_weight_decay(self.network, weight_decay)
        else:
            groups = param_groups_layer_decay(self.network, weight_decay, layer_decay=layer_decay)
        return [{**group, "lr": learning_rate * group.get("lr_scale", 1.0)} for group in groups]

    def prepare(self) -> None:
        """Hold everything in channels_last."""
        self._memory_format = torch.channels_last
        self.network.to(memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(
                module, nn.Hardtanh
            ):  # ReLU6 is one: in place, autograd first clones its input, for the same bits
                module.inplace = False
