"""Pictures: file bytes to a uint8 array, by the bundle's input spec.

Training reads its pictures through :func:`decode_image` too, so what is served is what was trained.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import MARKER
from pydantic import BaseModel, ConfigDict, Field

from serving.model.errors import InputRefusedError
from serving.model.files import FileRef
from serving.model.inputs.item import Feeds, Item

# Far more than a camera or an editor writes; Pillow spends a pass over the whole picture on each scan, and Python code on each segment.
MOST_JPEG_SCANS, MOST_JPEG_SEGMENTS = 100, 4096
START_OF_SCAN = b"\xff\xda"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class ImageInputSpec(BaseModel):
    """How a picture becomes model input. The names and meanings are timm's data configuration.

    Attributes:
        height: Rows of the model's input, in pixels.
        width: Columns of the model's input, in pixels.
        crop_pct: Share of the resized picture's side that the crop keeps, in (0, 1].
        crop_mode: ``center`` resizes the shorter side and crops the centre (the aspect ratio is kept);
            ``squash`` resizes both sides and crops the centre.
        interpolation: Pillow's resampling filter.
        max_pixels: Larger pictures are refused before they are decoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Literal["image"] = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    max_pixels: int = Field(default=50_000_000, gt=0)

    def files(self) -> tuple[FileRef, ...]:
        """The files that it needs: none."""
        return ()


class ImagePreprocessor:
    """Picture files to pixels, and pixels to batches.

    Args:
        spec: The input spec.
    """

    def __init__(self, spec: ImageInputSpec) -> None:
        self.spec = spec

    def decode(self, data: bytes) -> Item:
        """One picture's pixels; see :func:`decode_image`."""
        return Item(decode_image(data, self.spec))

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """``image``, uint8 of shape (batch, H, W, 3)."""
        return {"image": np.stack(arrays)}

    def blank(self) -> NDArray[np.uint8]:
        """A black picture."""
        return np.zeros((self.spec.height, self.spec.width, 3), np.uint8)


def decode_image(data: bytes, spec: ImageInputSpec) -> NDArray[np.uint8]:
    """Decode, orient, resize and crop one picture.

    Args:
        data: The bytes of a PNG, JPEG, WebP, BMP, GIF or TIFF file. Of several frames the first counts.
        spec: The size and the way to get there.

    Returns:
        A C-contiguous uint8 array of shape ``(spec.height, spec.width, 3)``, RGB, 0 to 255.

    Raises:
        InputRefusedError: Not a picture, truncated, or larger than ``spec.max_pixels``.
    """
    return np.ascontiguousarray(_fit(_load(data, spec.max_pixels), spec))


def load_rgb(data: bytes, max_pixels: int) -> Image.Image:
    """Decode one picture, upright and in RGB, at its own size.

    Raises:
        InputRefusedError: Not a picture, truncated, or larger than ``max_pixels``.
    """
    return _load(data, max_pixels).convert("RGB")


def _load(data: bytes, max_pixels: int) -> Image.Image:
    """The same in RGB, or in grey where it is grey: one channel is resized in a third of the time, to the same values."""
    if not data:
        raise InputRefusedError("empty_input", "The picture is empty (0 bytes). Send the bytes of a picture file.")
    _refuse_slow_jpeg(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what `max_pixels` already decides
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _refuse_oversize(image.size, max_pixels)
            image.load()
            upright = ImageOps.exif_transpose(image)
            return upright if upright.mode == "L" else _to_rgb(upright)
    except InputRefusedError:
        raise
    except Image.DecompressionBombError as error:
        raise InputRefusedError("too_many_pixels", f"{error}", status=413) from error
    # Pillow's decoders raise a dozen types on hostile bytes (OSError, SyntaxError, struct.error, ...).
    except Exception as error:
        raise InputRefusedError("not_an_image", f"Not a readable picture ({_reason(error)}). Accepted: {', '.join(FORMATS)}.") from error


def _refuse_slow_jpeg(data: bytes) -> None:
    """Refuse a JPEG of few bytes that takes minutes: one of thousands of empty scans, or with millions of segments before the first."""
    if not data.startswith(b"\xff\xd8"):
        return
    position = 2
    for _ in range(MOST_JPEG_SEGMENTS):
        if position + 4 > len(data) or data[position : position + 2] == START_OF_SCAN:
            break
        marker = int.from_bytes(data[position : position + 2])
        is_segment = marker in MARKER and MARKER[marker][2] is not None
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4])) if is_segment else 1  # else a byte that is skipped
    else:
        raise InputRefusedError("not_an_image", f"The JPEG has more than {MOST_JPEG_SEGMENTS:,} segments before its first scan.")
    if data.count(START_OF_SCAN, position) > MOST_JPEG_SCANS:
        raise InputRefusedError("not_an_image", f"The JPEG has more than {MOST_JPEG_SCANS} scans.")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown or unsupported format"
    return str(error) or type(error).__name__


def _refuse_oversize(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InputRefusedError(
            "too_many_pixels",
            f"The picture has, or would be resized to, {width} x {height} pixels; at most {max_pixels:,} are accepted.",
            status=413,
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; 16-bit and 32-bit greys are scaled, where Pillow's own conversion would clip them."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image, dtype=np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return image.convert("RGB")


def _fit(image: Image.Image, spec: ImageInputSpec) -> NDArray[np.uint8]:
    """Resize, then crop the centre: torchvision's ``Resize`` and ``CenterCrop``, to the pixel."""
    target_height, target_width = _resized(image.height, image.width, spec)
    _refuse_oversize((target_width, target_height), spec.max_pixels)  # a strip of 1 x 20,000 would grow to a thousand megapixels
    if (image.height, image.width) != (target_height, target_width):
        image = image.resize((target_width, target_height), RESAMPLING[spec.interpolation])
    top = round((target_height - spec.height) / 2)
    left = round((target_width - spec.width) / 2)
    return np.asarray(image.convert("RGB"))[top : top + spec.height, left : left + spec.width]


def _resized(height: int, width: int, spec: ImageInputSpec) -> tuple[int, int]:
    """The size, as (height, width) in pixels, to which a picture is resized before the crop."""
    full_height, full_width = int(spec.height / spec.crop_pct), int(spec.width / spec.crop_pct)
    if spec.crop_mode == "squash":
        return full_height, full_width
    # The smallest picture of the same aspect ratio that covers the full box.
    if height * full_width <= width * full_height:
        return full_height, max(int(full_height * width / height), full_width)
    return max(int(full_width * height / width), full_height), full_width
