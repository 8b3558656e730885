"""A picture as its file has it, upright, with what the file says of its values."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

ORIENTATION: Final = 0x0112
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS: Final = frozenset({TURNS[5], TURNS[6], TURNS[7], TURNS[8]})
"""What makes columns of rows."""
# What brings the last row, and the last column, to the front, once columns have been made of rows.
UPSIDE_DOWN: Final = frozenset({TURNS[3], TURNS[4], TURNS[7], TURNS[8]})
BACK_TO_FRONT: Final = frozenset({TURNS[2], TURNS[3], TURNS[6], TURNS[7]})
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 262, 277
WHITE_IS_ZERO: Final = 0
CHANNELS: Final = 3
PNG_DEPTH: Final = 24
"""Place of the byte with the bits of a value in a PNG file."""


@dataclass(frozen=True)
class Picture:
    """An upright picture as its file has it.

    Attributes:
        decoded: The picture in its own mode, whose ``info`` has its transparency; or, where it was decoded to
            red, green and blue, their values: uint8 of shape (height, width, 3).
        bands: Number of values of a pixel in the file.
        value_range: Least and greatest value that the greys of the file's type can have; None where the type
            has no such range.
        white_is_zero: Whether the least value of a deep grey is white.
    """

    decoded: Image.Image | NDArray[np.uint8]
    bands: int
    value_range: tuple[float, float] | None = None
    white_is_zero: bool = False

    @cached_property
    def image(self) -> Image.Image:
        """The picture in its own mode, whose ``info`` has its transparency."""
        return self.decoded if isinstance(self.decoded, Image.Image) else Image.fromarray(self.decoded)

    @property
    def pixels(self) -> NDArray[np.uint8] | None:
        """Its red, green and blue, uint8 of shape (height, width, 3); None where they are not at hand."""
        return None if isinstance(self.decoded, Image.Image) else self.decoded

    @property
    def is_deep(self) -> bool:
        """Whether the picture is grey and deeper than 8 bits."""
        return self.pixels is None and (self.image.mode.startswith("I") or self.image.mode == "F")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded file: as Pillow has opened it, and what it was decoded to, which may be the same object."""

    file: Image.Image
    content: Image.Image | NDArray[np.uint8]


def describe(decoded: Decoded, data: bytes) -> Picture:
    """Return a decoded picture, upright, with what its file says of its values."""
    turn = turn_of(decoded.file)
    if not isinstance(decoded.content, Image.Image):
        return Picture(_upright(decoded.content, turn), bands=CHANNELS)
    image = decoded.content
    _correct_key(image, data)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0] if image.mode.startswith("I;16") else None
    return Picture(
        image if turn is None else image.transpose(turn),
        bands=max(tags.get(SAMPLES_PER_PIXEL, 0), len(image.getbands())),
        value_range=None if bits is None else (0, 2**bits - 1),
        white_is_zero=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
    )


def _upright(pixels: NDArray[np.uint8], turn: Image.Transpose | None) -> NDArray[np.uint8]:
    """Return pixels as ``Image.transpose`` would turn them."""
    if turn in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if turn in UPSIDE_DOWN:
        pixels = pixels[::-1]
    if turn in BACK_TO_FRONT:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return what makes a picture upright; None where it is, or its EXIF block cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises a dozen types on a broken block
        return None


def _correct_key(image: Image.Image, data: bytes) -> None:
    """Bring the one colour of a PNG that is transparent to the depth that its pixels were decoded to."""
    key = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or key is None:
        return
    depth = data[PNG_DEPTH]
    if image.mode == "L" and depth < 8:
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16:
        # Pillow keeps the high bytes of the pixels: the picture is given its transparency band here.
        del image.info["transparency"]
        low = _decode_low_bytes(data)
        pixels = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
        alpha = np.where((pixels == key).all(axis=2), 0, 255).astype(np.uint8)
        image.putalpha(Image.fromarray(alpha))


def _decode_low_bytes(data: bytes) -> Image.Image:
    """Decode the low bytes of a PNG of 16 bits a colour, as RGB."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image
