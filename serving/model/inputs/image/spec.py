"""The input spec of pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.model.inputs.kind import InputSpec


class ImageInputSpec(InputSpec):
    """How a picture becomes model input. The names and meanings are those of timm's data configuration.

    Attributes:
        height: Number of rows of the model's input, in pixels.
        width: Number of columns of the model's input, in pixels.
        crop_pct: Share of the resized picture's side that the crop keeps, in (0, 1].
        crop_mode: ``center`` resizes the shorter side and crops the centre, which keeps the aspect ratio;
            ``squash`` resizes both sides and crops the centre.
        interpolation: Name of Pillow's resampling filter.
        max_pixels: Number of pixels past which a picture is refused, before it is decoded.
    """

    modality: Literal["image"] = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    max_pixels: int = Field(default=50_000_000, gt=0)
