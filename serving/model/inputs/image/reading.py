"""Reading of picture files: bytes become an upright picture in the file's own mode.

Metadata never decide whether a picture is read. Where they keep it from being decoded they are left, and
a JPEG whose end is missing is read if its pixels do not depend on what is missing.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401 - registers its format
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)
from PIL.JpegImagePlugin import JpegImageFile

from serving.model.errors import InputRefusedError
from serving.model.inputs.image import heic, jpeg
from serving.model.inputs.image.boxes import is_avif, is_heic
from serving.model.inputs.image.heic import open_heic
from serving.model.inputs.image.jpeg_pixels import load_pixels
from serving.model.inputs.image.metadata import without_metadata
from serving.model.inputs.image.picture import (
    BITS_PER_SAMPLE,
    SAMPLES_PER_PIXEL,
    SIDEWAYS,
    Decoded,
    Picture,
    describe,
    turn_of,
)

FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
Reduction = Callable[[int, int], int]
# A picture is decoded several times to see whether its end matters: with few scans, that takes no longer than
# the most scans that are accepted take once. Cameras and editors write a dozen at most.
MOST_MENDED_SCANS: Final = 16
# What may stand behind the cut end of a JPEG: bits that begin in every way, and go on behind each of the
# eight restart markers.
_NOISE: Final = b"".join(
    hashlib.shake_128(bytes((marker,))).digest(512).replace(b"\xff", b"\xfe") + bytes((0xFF, marker))
    for marker in (*range(0xD0, 0xD8), *range(0xD0, 0xD8))
)
TAILS: Final = tuple(bytes((first,)) + _NOISE for first in (0xFE, 0xAA, 0x55, 0x00))


@dataclass(frozen=True, slots=True)
class _Decoding:
    """How files are decoded; see :func:`read_picture`."""

    max_pixels: int
    reduction: Reduction
    fast: bool = True

    def denominator(self, image: JpegImageFile) -> int:
        """Return the denominator of the share of a JPEG's size at which it is decoded."""
        is_sideways = turn_of(image) in SIDEWAYS
        rows, columns = (image.width, image.height) if is_sideways else (image.height, image.width)
        return self.reduction(rows, columns)


def _in_full(_height: int, _width: int) -> int:
    return 1


def read_picture(data: bytes, max_pixels: int, reduction: Reduction = _in_full) -> Picture:
    """Read one picture, of several frames the first, and turn it upright.

    Args:
        data: Bytes of a file in one of ``FORMATS``, or HEIC.
        max_pixels: Number of pixels past which a picture is refused, before it is decoded.
        reduction: Gives, for the rows and columns of an upright JPEG, the denominator 1, 2, 4 or 8 of the
            share of them that is decoded. By default all are.

    Raises:
        InputRefusedError: The bytes are no picture, its pixels are truncated or damaged, or there are more of
            them than ``max_pixels``.
    """
    if not data:
        raise InputRefusedError(
            "empty_input", "The picture is empty (0 bytes). Send the bytes of a picture file."
        )
    jpeg.refuse_slow_jpeg(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of metadata
        return _read(data, _Decoding(max_pixels, reduction))


def _read(data: bytes, decoding: _Decoding) -> Picture:
    try:
        return describe(*_decode_or_mend(data, decoding))
    except InputRefusedError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit for a WebP
        raise _too_large("too many", decoding.max_pixels) from error
    # Pillow's decoders raise a dozen types on hostile bytes (OSError, SyntaxError, struct.error, ...), with
    # messages for its developers.
    except Exception as error:
        raise InputRefusedError("not_an_image", _reason(data)) from error


def _decode_or_mend(data: bytes, decoding: _Decoding) -> tuple[Decoded, bytes]:
    """Decode a picture, if need be without metadata; return it with the bytes that were decoded."""
    try:
        return _decode(data, decoding), data
    except (InputRefusedError, MemoryError):
        raise
    except Exception:
        bare = without_metadata(data)
        if bare is None:
            raise
        decoding = replace(decoding, fast=False)  # what it is faster at has failed
        is_jpeg = bare.startswith(jpeg.MAGIC)
        if bare != data:
            try:
                return _decode(bare, decoding), bare
            except OSError:
                if not is_jpeg:
                    raise
        if not is_jpeg:
            raise
        return _decode_cut_jpeg(bare, decoding), bare


def _decode_cut_jpeg(data: bytes, decoding: _Decoding) -> Decoded:
    """Decode a JPEG whose end is missing.

    Raises:
        OSError: Its pixels depend on what is missing.
    """
    if data.count(jpeg.START_OF_SCAN) > MOST_MENDED_SCANS or not jpeg.has_every_scan(data):
        raise OSError("scans are missing")
    # A last byte of ones is half a marker, or half of an escaped byte.
    cut = data.rstrip(b"\xff")
    # All pixels are looked at, so that whether a file is read does not depend on the size that is asked for.
    reduced, decoding = decoding, replace(decoding, reduction=_in_full)
    ended = _decode(cut + jpeg.END, decoding)
    pixels = np.asarray(ended.content)
    for tail in TAILS:
        if not np.array_equal(pixels, np.asarray(_decode(cut + tail + jpeg.END, decoding).content)):
            raise OSError("pixels are missing")
    return ended if reduced == decoding else _decode(cut + jpeg.END, reduced)


def _decode(data: bytes, decoding: _Decoding) -> Decoded:
    """Decode with the reader of the first format that the bytes begin like."""
    if is_heic(data):
        return _decode_heic(data, decoding)
    file = _open(data)
    refuse_oversize(file.size, decoding.max_pixels)
    if isinstance(file, JpegImageFile):
        return Decoded(file, load_pixels(file, data, decoding.denominator(file), fast=decoding.fast))
    file.load()
    return Decoded(file, file)


def _decode_heic(data: bytes, decoding: _Decoding) -> Decoded:
    opened = open_heic(data)
    refuse_oversize(opened.size, decoding.max_pixels)
    image = opened.decode()
    refuse_oversize(image.size, decoding.max_pixels)  # what the file says of it need not be true
    return Decoded(image, image)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open a file, of which no pixels are decoded yet.

    ``Image.open`` does the same, but has a limit of its own to the size, which is one for the whole process.
    """
    if is_avif(data):
        # By default it takes as many threads as the host has CPUs, and several are decoded at a time.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    for name in FORMATS:
        create, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            return create(io.BytesIO(data), "")
    raise InputRefusedError("not_an_image", _unreadable("unknown or unsupported format"))


def refuse_oversize(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture of too many pixels.

    Raises:
        InputRefusedError: ``too_many_pixels``.
    """
    width, height = size
    if width * height > max_pixels:
        raise _too_large(f"{width} x {height}", max_pixels)


def _too_large(size: str, max_pixels: int) -> InputRefusedError:
    text = f"The picture has {size} pixels; at most {max_pixels:,} are accepted."
    return InputRefusedError("too_many_pixels", text, status=413)


def _unreadable(reason: str) -> str:
    accepted = [*FORMATS, "HEIC"] if heic.is_read() else FORMATS
    return f"Not a readable picture ({reason}). Accepted: {', '.join(accepted)}."


def _reason(data: bytes) -> str:
    """Say why a picture of a known format cannot be decoded."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bands, bits = tags[SAMPLES_PER_PIXEL], tags[BITS_PER_SAMPLE][0]
    except Exception:  # no TIFF, or a damaged one
        return _unreadable("its pixels are truncated or damaged")
    return _unreadable(
        f"the TIFF has {bands} band(s) of {bits} bits, and is damaged or of a kind that is not read: save it "
        "as RGB of 8 bits or grey of 16 bits, with the bands that count"
    )
