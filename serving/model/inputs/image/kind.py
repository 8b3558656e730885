"""Pictures, as one kind of input."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from serving.model.inputs.kind import ArrayTensor, BytesTensor, FileBody, FileControl, InputKind, InputSpec

if TYPE_CHECKING:
    from serving.model.inputs.item import Preprocessor

ONE_PIXEL_PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
CHANNELS: Final = 3


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


def _open(spec: ImageInputSpec, _: Path) -> Preprocessor:
    from serving.model.inputs.image.pixels import ImagePreprocessor

    return ImagePreprocessor(spec)


IMAGE: Final = InputKind(
    name="image",
    noun="picture",
    plural="pictures",
    invitation="Give it a picture, and it says what it sees.",
    max_body_bytes=64 * 1024 * 1024,
    body=FileBody("image", "images", "image/*", base64.b64decode(ONE_PIXEL_PNG)),
    tensors=(
        BytesTensor(is_text=False),
        ArrayTensor("UINT8", lambda spec: (spec.height, spec.width, CHANNELS), "RGB, of the model's size"),
    ),
    control=FileControl("image/*", has_camera=True),
    spec=ImageInputSpec,
    open_preprocessor=_open,
    bento_service="serving.service:GraftService",
)
