"""Random changes of training pictures that do not change their label."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from pipeline.modalities.image.recipe import ImageAugment


def augment(pixels: torch.Tensor, choice: ImageAugment, generator: torch.Generator) -> torch.Tensor:
    """Flip and crop each picture of a batch by chance.

    Args:
        pixels: Pictures, uint8 of shape (batch, height, width, 3).
        choice: The changes that may happen.
        generator: The source of chance, on the CPU, so that every device sees the same changes.

    Returns:
        Pictures of the same shape and range, in uint8, or in float32 after a crop, which is resized back by
        bilinear interpolation.
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
    """Crop each picture, anywhere in it, to a share of its area between ``low`` and ``high``."""
    count = len(pixels)
    side = (torch.rand(count, generator=generator) * (high - low) + low).sqrt()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = ((torch.rand(2, count, generator=generator) * 2 - 1) * (1 - side)).T
    batch = pixels.to(torch.float32).permute(0, 3, 1, 2)
    grid = F.affine_grid(theta.to(batch.device), list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False).permute(
        0, 2, 3, 1
    )
