"""Random changes of training pictures that do not change their label, a whole batch at once."""

from __future__ import annotations

import math
from enum import IntEnum, auto

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from pipeline.modalities.image.augment_recipe import ImageAugment

LUMA = (0.299, 0.587, 0.114)
# YIQ: brightness, and two axes of colour around which a hue turns.
TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
BLUR_SIGMA = (0.1, 2.0)  # pixels of a picture with sides of 224
BLUR_SIDE = 224
ERASED_AREA = (0.02, 0.2)
ERASED_RATIO = (0.3, 3.3)


class Draw(IntEnum):
    """The columns of a batch's random numbers; all are drawn, whatever the recipe asks for."""

    MIRROR = 0
    TURN_OVER = auto()
    SCALE = auto()
    ACROSS = auto()
    DOWN = auto()
    ROTATION = auto()
    BRIGHTNESS = auto()
    CONTRAST = auto()
    SATURATION = auto()
    HUE = auto()
    BLUR = auto()
    SIGMA = auto()
    ERASING = auto()
    AREA = auto()
    RATIO = auto()
    LEFT = auto()
    TOP = auto()


def draw_numbers(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the random numbers of a batch, in [0, 1): float32 of shape (count, draws), on the CPU.

    Args:
        count: Number of pictures.
        generator: The source of chance, on the CPU, so that every device sees the same changes.
    """
    return torch.rand(count, len(Draw), generator=generator)


def augment(
    pixels: torch.Tensor,
    choice: ImageAugment,
    generator: torch.Generator,
    size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Change the pictures of a batch by chance, as the keys of the recipe's section say.

    Args:
        pixels: Pictures, uint8 of shape (batch, height, width, 3).
        choice: The changes that may happen; its pipelines, if any, are left to
            :class:`~pipeline.modalities.image.augmenter.Augmenter`.
        generator: The source of chance, on the CPU.
        size: Height and width of the result, in pixels; those of the pictures by default.

    Returns:
        Pictures from 0 to 255: uint8 where no more than mirroring or erasing was asked for, else float32.
    """
    numbers = draw_numbers(len(pixels), generator)
    return erase(change(pixels, choice, numbers, size), choice, numbers)


def change(
    pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor, size: tuple[int, int] | None = None
) -> torch.Tensor:
    """Mirror, crop, turn, recolour and blur a batch; arguments and result are those of :func:`augment`.

    Args:
        pixels: Pictures, uint8 of shape (batch, height, width, 3).
        choice: The changes that may happen.
        numbers: The batch's random numbers, from :func:`draw_numbers`.
        size: Height and width of the result, in pixels; those of the pictures by default.
    """
    if choice.crops or choice.rotation > 0 or size not in (None, tuple(pixels.shape[1:3])):
        pixels = _move(pixels, choice, numbers, size or (pixels.shape[1], pixels.shape[2]))
    elif choice.flips:
        pixels = _mirror(pixels, choice, numbers)
    if choice.recolours:
        pixels = _recolour(pixels, choice, numbers)
    if choice.blur > 0:
        pixels = _blur(pixels, choice, numbers)
    # The weights of an interpolation or a blur may add up to a little more than 1.
    return pixels.clamp_(0, 255) if pixels.is_floating_point() else pixels


def _mirrored(choice: ImageAugment, numbers: torch.Tensor) -> list[torch.Tensor]:
    """Return which pictures are mirrored left to right, and which top to bottom, each bool (batch,)."""
    asked = (choice.horizontal_flip is True, choice.vertical_flip is True)
    return [
        (numbers[:, column] < 0.5) & wanted
        for wanted, column in zip(asked, (Draw.MIRROR, Draw.TURN_OVER), strict=True)
    ]


def _mirror(pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor) -> torch.Tensor:
    """Mirror pictures without touching a value."""
    for chosen, dimension in zip(_mirrored(choice, numbers), (2, 1), strict=True):
        if bool(chosen.any()):
            where = chosen.to(pixels.device)[:, None, None, None]
            pixels = torch.where(where, pixels.flip(dimension), pixels)
    return pixels


def _move(
    pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Mirror, crop and turn in one pass of bilinear interpolation; float32 (batch, *size, 3)."""
    theta = _placement(choice, numbers, pixels.shape[2] / pixels.shape[1]).to(pixels.device)
    batch = pixels.to(torch.float32).permute(0, 3, 1, 2)
    grid = F.affine_grid(theta, [len(pixels), 3, *size], align_corners=False)
    # A turn reaches past the edge, where a mirror image looks more like a picture than stripes do.
    padding = "reflection" if choice.rotation > 0 else "border"
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode=padding, align_corners=False).permute(
        0, 2, 3, 1
    )


def _placement(choice: ImageAugment, numbers: torch.Tensor, aspect: float) -> torch.Tensor:
    """Return the affine map from each result to its picture, for affine_grid: float32 (batch, 2, 3)."""
    low, high = choice.crop_scale
    side = (numbers[:, Draw.SCALE] * (high - low) + low).sqrt()
    angle = math.radians(choice.rotation) * (numbers[:, Draw.ROTATION] * 2 - 1)
    mirrored, over = (1 - 2 * chosen.float() for chosen in _mirrored(choice, numbers))
    cosine, sine = side * angle.cos(), side * angle.sin()
    theta = torch.zeros(len(numbers), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cosine * mirrored, -sine * over / aspect
    theta[:, 1, 0], theta[:, 1, 1] = sine * mirrored * aspect, cosine * over
    theta[:, 0, 2] = (numbers[:, Draw.ACROSS] * 2 - 1) * (1 - side)
    theta[:, 1, 2] = (numbers[:, Draw.DOWN] * 2 - 1) * (1 - side)
    return theta


def _recolour(pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast, saturation and hue by one matrix a picture; float32 of the same shape."""
    batch = pixels.to(torch.float32).permute(0, 3, 1, 2)
    luma = torch.tensor(LUMA, device=batch.device)
    matrix, contrast = (value.to(batch.device) for value in _colour_matrix(choice, numbers))
    values = batch.flatten(2)
    # Contrast moves values away from the picture's mean grey.
    grey = (matrix @ values.mean(dim=2, keepdim=True))[:, :, 0] @ luma
    offset = ((1 - contrast) * grey)[:, None, None]
    changed = torch.baddbmm(offset, matrix * contrast[:, None, None], values)
    return changed.clamp_(0, 255).reshape(batch.shape).permute(0, 2, 3, 1)


def _colour_matrix(choice: ImageAugment, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each picture's matrix from RGB to RGB, float32 (batch, 3, 3), and its contrast, (batch,)."""

    def factor(amount: float, column: Draw) -> torch.Tensor:
        return 1 + amount * (numbers[:, column] * 2 - 1)

    saturation = factor(choice.saturation, Draw.SATURATION)[:, None, None]
    grey = torch.tensor(LUMA).expand(3, 3)
    saturate = saturation * torch.eye(3) + (1 - saturation) * grey
    angle = 2 * math.pi * choice.hue * (numbers[:, Draw.HUE] * 2 - 1)
    turn = torch.zeros(len(numbers), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    to_yiq = torch.tensor(TO_YIQ)
    hue = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    brightness = factor(choice.brightness, Draw.BRIGHTNESS)[:, None, None]
    return brightness * (hue @ saturate), factor(choice.contrast, Draw.CONTRAST)


def _blur(pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor) -> torch.Tensor:
    """Blur a share of the pictures; float32 of the same shape."""
    from torchvision.transforms.v2.functional import gaussian_blur

    chosen = torch.nonzero(numbers[:, Draw.BLUR] < choice.blur).flatten().tolist()
    batch = pixels.to(torch.float32, copy=pixels.dtype == torch.float32 and bool(chosen))
    least, most = (limit * pixels.shape[1] / BLUR_SIDE for limit in BLUR_SIGMA)
    kernel = 2 * math.ceil(2 * most) + 1
    for index in chosen:
        sigma = least + float(numbers[index, Draw.SIGMA]) * (most - least)
        blurred = gaussian_blur(batch[index].permute(2, 0, 1), [kernel, kernel], [sigma, sigma])
        batch[index] = blurred.permute(1, 2, 0)
    return batch


def erase(pixels: torch.Tensor, choice: ImageAugment, numbers: torch.Tensor) -> torch.Tensor:
    """Fill a rectangle in a share of the pictures with the picture's mean colour.

    Args:
        pixels: Pictures from 0 to 255, of shape (batch, height, width, 3).
        choice: The changes that may happen.
        numbers: The batch's random numbers, from :func:`draw_numbers`.

    Returns:
        Pictures of the same shape and type.
    """
    chosen = torch.nonzero(numbers[:, Draw.ERASING] < choice.erasing).flatten().tolist()
    if not chosen:
        return pixels
    pixels = pixels.clone()
    height, width = pixels.shape[1:3]
    for index in chosen:
        area, ratio, left, top = (
            float(numbers[index, column]) for column in (Draw.AREA, Draw.RATIO, Draw.LEFT, Draw.TOP)
        )
        area = ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])
        low, high = (math.log(limit) for limit in ERASED_RATIO)
        ratio = math.exp(low + ratio * (high - low))
        rows = max(1, min(height, round(height * math.sqrt(area * ratio))))
        columns = max(1, min(width, round(width * math.sqrt(area / ratio))))
        y, x = int(top * (height - rows + 1)), int(left * (width - columns + 1))
        mean = pixels[index].float().mean(dim=(0, 1)).to(pixels.dtype)
        pixels[index, y : y + rows, x : x + columns] = mean
    return pixels
