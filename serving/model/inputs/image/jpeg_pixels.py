"""Decoding of the pixels of a JPEG: by simplejpeg, which gives those of Pillow, bit for bit, but faster.

Both call libjpeg-turbo. Pillow, which has read the file's header and metadata before, is used where
simplejpeg is missing or does not take the file: CMYK, and what is cut or damaged.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from serving.model.inputs.image.jpeg import END

COLOURS: Final = {"L": "GRAY", "RGB": "RGB"}
# Below, shares such as 3/8 and 1/2 of a side are of equally many pixels, and simplejpeg takes either.
LEAST_REDUCED: Final = 8


def load_pixels(
    image: JpegImageFile, data: bytes, denominator: int, *, fast: bool = True
) -> Image.Image | NDArray[np.uint8]:
    """Decode the pixels of a JPEG.

    Args:
        image: The file as Pillow has opened it, whose size has been accepted.
        data: Its bytes.
        denominator: 1 to decode all pixels; 2, 4 or 8 for a half, a quarter or an eighth of the rows and
            columns, rounded up, which libjpeg computes from fewer coefficients. It is at most the number of
            rows and that of columns.
        fast: Whether simplejpeg is tried, which is the default.

    Returns:
        The picture as the file has it, not turned. It is a picture of Pillow's, or, where simplejpeg has
        decoded red, green and blue, their values: uint8 of shape (height, width, 3).

    Raises:
        OSError: It is damaged. Pillow's decoders raise further types.
    """
    pixels = _decode(image, data, denominator) if fast else None
    if pixels is None:
        if denominator > 1:
            image.draft(None, (image.width // denominator, image.height // denominator))
        image.load()
        return image
    return pixels if image.mode == "RGB" else Image.fromarray(pixels)


def _decode(image: JpegImageFile, data: bytes, denominator: int) -> NDArray[np.uint8] | None:
    """Decode by simplejpeg: uint8 of shape (height, width, 3) or (height, width). None where Pillow must."""
    simplejpeg = _load_simplejpeg()
    if simplejpeg is None or image.mode not in COLOURS or not data.endswith(END):
        return None  # a file without an end would be found out after all of it had been decoded
    width, height = (-(-side // denominator) for side in image.size)
    if denominator > 1 and max(width, height) < LEAST_REDUCED:
        return None
    try:
        # The two need not agree on where a damaged file has its size, and that of Pillow has been accepted.
        if simplejpeg.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, COLOURS[image.mode], min_height=height, min_width=width
        )
    except ValueError:  # any warning of libjpeg: Pillow says which files can be read all the same
        return None
    return pixels if image.mode == "RGB" else pixels[:, :, 0]


@functools.cache
def _load_simplejpeg() -> Any:  # noqa: ANN401 - it has no types
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
