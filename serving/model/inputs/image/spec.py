"""The input spec of pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from serving.model.inputs.kind import InputSpec

MAX_PIXELS = 50_000_000
CYKOOZ = "cykooz_resizer"
CYKOOZ_MISSING = (
    "The model's pictures are resized by cykooz-resizer, which is not installed, and another resizer would "
    "give it other pixels. Install it: pip install cykooz-resizer"
)


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
        rules: Number of the rules that turn a file's values into red, green and blue. Rules 1, the default,
            are those of bundles that name none: transparency and extra bands are dropped, and greys deeper
            than 16 bits are clipped. Rules 2 heed ``background`` and ``window``, and refuse a picture with
            extra bands, or with greys whose range is neither known nor stated.
        background: Colour under the transparent parts of a picture, as ``#rrggbb``; None, the default, drops
            the transparency, so that the colours which it hides are seen.
        window: The two values of greys deeper than 8 bits that become black and white; None, the default,
            for the least and greatest value of their type.
        resizer: Library that resizes: ``pillow``, the default, or ``cykooz``, which is several times as fast.
            Their pixels differ in some values by one or two, so a model is served by the one that its
            training had.
        reducing_gap: Number of times as many rows and columns as a picture is resized to that the decoding of
            a JPEG must leave: it is decoded at a half, a quarter or an eighth of its size where that leaves
            so many. None, the default, decodes every pixel. The name is that of ``Image.thumbnail``.
    """

    modality: Literal["image"] = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    max_pixels: int = Field(default=MAX_PIXELS, gt=0)
    rules: Literal[1, 2] = 1
    background: str | None = Field(default=None, pattern="^#[0-9a-f]{6}$")
    window: tuple[float, float] | None = None
    resizer: Literal["pillow", "cykooz"] = "pillow"
    reducing_gap: float | None = Field(default=None, ge=1)

    @field_validator("window")
    @classmethod
    def _order_window(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        """Refuse a window without a finite width."""
        if window is not None and not 0 < window[1] - window[0] < float("inf"):
            raise ValueError("window must be two finite numbers, the lower one first")
        return window

    @model_validator(mode="after")
    def _need_rules_2(self) -> ImageInputSpec:
        """Refuse what rules 1 would not heed."""
        if self.rules == 1 and (self.background, self.window) != (None, None):
            raise ValueError("background and window need rules: 2")
        return self
