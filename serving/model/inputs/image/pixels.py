"""Decoding of pictures: the bytes of a file become a uint8 array, by the bundle's input spec.

Training reads its pictures through :func:`decode_image` too, so that what is served is what was trained.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import MARKER

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.inputs.item import Feeds, Item

# Far more than any camera or editor writes. Pillow spends a pass over the whole picture on each scan, and
# Python code on each segment.
MOST_JPEG_SCANS, MOST_JPEG_SEGMENTS = 100, 4096
START_OF_SCAN = b"\xff\xda"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class ImagePreprocessor:
    """Decodes picture files to pixels, and combines pixels into batches.

    Args:
        spec: Input spec that says how.
    """

    def __init__(self, spec: ImageInputSpec) -> None:
        self.spec = spec

    def decode(self, data: bytes) -> Item:
        """Decode one picture; see :func:`decode_image`."""
        return Item(decode_image(data, self.spec))

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """Return the input ``image``, uint8 of shape (batch, height, width, 3)."""
        return {"image": np.stack(arrays)}

    def blank(self) -> NDArray[np.uint8]:
        """Return a black picture."""
        return np.zeros((self.spec.height, self.spec.width, 3), np.uint8)


def decode_image(data: bytes, spec: ImageInputSpec) -> NDArray[np.uint8]:
    """Decode, orient, resize and crop one picture.

    Args:
        data: Bytes of a PNG, JPEG, WebP, BMP, GIF or TIFF file. Of several frames the first is used.
        spec: Input spec that names the size, and how the picture is brought to it.

    Returns:
        A C-contiguous uint8 array of shape ``(spec.height, spec.width, 3)``, RGB, 0 to 255.

    Raises:
        InputRefusedError: The bytes are no picture, are truncated, or have more than ``spec.max_pixels``
            pixels.
    """
    return np.ascontiguousarray(_fit(_load(data, spec.max_pixels), spec))


def load_rgb(data: bytes, max_pixels: int) -> Image.Image:
    """Decode one picture, upright and in RGB, at its own size.

    Raises:
        InputRefusedError: The bytes are no picture, are truncated, or have more than ``max_pixels`` pixels.
    """
    return _load(data, max_pixels).convert("RGB")


def _load(data: bytes, max_pixels: int) -> Image.Image:
    """Decode to RGB, or to greyscale for greyscale pictures, which resize three times as fast."""
    if not data:
        raise InputRefusedError(
            "empty_input", "The picture is empty (0 bytes). Send the bytes of a picture file."
        )
    _refuse_slow_jpeg(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns of large pictures, which `max_pixels` already decides on
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
        text = f"Not a readable picture ({_reason(error)}). Accepted: {', '.join(FORMATS)}."
        raise InputRefusedError("not_an_image", text) from error


def _refuse_slow_jpeg(data: bytes) -> None:
    """Refuse a small JPEG that would take minutes: of thousands of scans, or millions of segments."""
    if not data.startswith(b"\xff\xd8"):
        return
    position = 2
    for _ in range(MOST_JPEG_SEGMENTS):
        if position + 4 > len(data) or data[position : position + 2] == START_OF_SCAN:
            break
        marker = int.from_bytes(data[position : position + 2])
        is_segment = marker in MARKER and MARKER[marker][2] is not None
        length = max(2, int.from_bytes(data[position + 2 : position + 4]))
        position += 2 + length if is_segment else 1  # Pillow skips a byte that begins no segment
    else:
        text = f"The JPEG has more than {MOST_JPEG_SEGMENTS:,} segments before its first scan."
        raise InputRefusedError("not_an_image", text)
    if data.count(START_OF_SCAN, position) > MOST_JPEG_SCANS:
        raise InputRefusedError("not_an_image", f"The JPEG has more than {MOST_JPEG_SCANS} scans.")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown or unsupported format"
    return str(error) or type(error).__name__


def _refuse_oversize(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        size_px = f"{width} x {height} pixels"
        text = f"The picture has, or would be resized to, {size_px}; at most {max_pixels:,} are accepted."
        raise InputRefusedError("too_many_pixels", text, status=413)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB. Greys of 16 and 32 bits are scaled, which Pillow itself would clip."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image, dtype=np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return image.convert("RGB")


def _fit(image: Image.Image, spec: ImageInputSpec) -> NDArray[np.uint8]:
    """Resize, then crop the centre: torchvision's ``Resize`` and ``CenterCrop``, to the pixel."""
    target_height, target_width = _resized(image.height, image.width, spec)
    # A strip of 1 x 20,000 pixels would grow to a thousand megapixels.
    _refuse_oversize((target_width, target_height), spec.max_pixels)
    if (image.height, image.width) != (target_height, target_width):
        image = image.resize((target_width, target_height), RESAMPLING[spec.interpolation])
    top = round((target_height - spec.height) / 2)
    left = round((target_width - spec.width) / 2)
    return np.asarray(image.convert("RGB"))[top : top + spec.height, left : left + spec.width]


def _resized(height: int, width: int, spec: ImageInputSpec) -> tuple[int, int]:
    """Return the size, as (height, width) in pixels, to which a picture is resized before the crop."""
    full_height, full_width = int(spec.height / spec.crop_pct), int(spec.width / spec.crop_pct)
    if spec.crop_mode == "squash":
        return full_height, full_width
    # The smallest picture of the same aspect ratio that covers the full box.
    if height * full_width <= width * full_height:
        return full_height, max(int(full_height * width / height), full_width)
    return max(int(full_width * height / width), full_height), full_width
