"""What training needs to know of pictures: the backbone, its input, and label-preserving changes."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from timm.data import resolve_data_config
from torch import nn

from pipeline.errors import GraftError
from pipeline.modalities.weights import describe_hub_failure, fit_weights, read_weights
from pipeline.recipe import Augment, Backbone, Image
from serving.inputs.image import ImageInputSpec


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
        model: nn.Module = timm.create_model(name) if classes is None else timm.create_model(name, num_classes=classes)
    except (RuntimeError, ValueError) as error:
        near = timm.list_models(f"*{name.partition('.')[0][:12]}*")[:5]
        raise GraftError(
            f"backbone.name: timm has no `{name}`. Near it: {', '.join(near) or 'nothing'}; all: timm.list_models()"
        ) from error
    return model


def create_pretrained(backbone: Backbone) -> nn.Module:
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


def augment(pixels: torch.Tensor, choice: Augment, generator: torch.Generator) -> torch.Tensor:
    """Flip and crop each picture of a batch by chance.

    Args:
        pixels: uint8 of shape (batch, H, W, 3).
        choice: What may happen.
        generator: The source of chance; on the CPU, so that every device sees the same.

    Returns:
        The same shape and range, uint8; float32 after a crop, which is resized back by bilinear interpolation.
    """
    count = len(pixels)
    for enabled, dimension in ((choice.horizontal_flip, 2), (choice.vertical_flip, 1)):
        draw = torch.rand(count, generator=generator) < 0.5
        if enabled:
            chosen = draw.to(pixels.device)[:, None, None, None]
            pixels = torch.where(chosen, pixels.flip(dimension), pixels)
    low, high = choice.crop_scale
    return pixels if low == 1.0 else _crop(pixels, low, high, generator)


def _crop(pixels: torch.Tensor, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """A crop of each picture with a share of its area between ``low`` and ``high``, anywhere in it."""
    count = len(pixels)
    side = (torch.rand(count, generator=generator) * (high - low) + low).sqrt()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = ((torch.rand(2, count, generator=generator) * 2 - 1) * (1 - side)).T
    batch = pixels.to(torch.float32).permute(0, 3, 1, 2)
    grid = F.affine_grid(theta.to(batch.device), list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
