"""Copies of picture files without their metadata, for files whose metadata keep them from being decoded.

What pixels and their transparency depend on stays, and so does an EXIF block, which says which side is up.
"""

from __future__ import annotations

import zlib
from typing import Final

from serving.model.inputs.image import boxes
from serving.model.inputs.image.boxes import is_avif, is_heic
from serving.model.inputs.image.jpeg import MAGIC as JPEG_MAGIC
from serving.model.inputs.image.jpeg import MOST_SEGMENTS, START_OF_SCAN, segments

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
PNG_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
WEBP_KEPT: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
WEBP_METADATA_FLAGS: Final = 0x20 | 0x08 | 0x04  # of the chunk VP8X: colour profile, EXIF, XMP
# More than any encoder writes for the largest picture that is accepted: theirs hold 8 KiB or more.
MOST_CHUNKS: Final = 65_536
APP0, APP1, APP14, APP15, COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
# The segments of a JPEG that say what its values mean, each with its beginning and its least length.
JPEG_KEPT: Final = {APP0: (b"JFIF\0", 14), APP1: (b"Exif\0\0", 6), APP14: (b"Adobe", 12)}


def without_metadata(data: bytes) -> bytes | None:
    """Return a picture file without its metadata; None where its format is not one of those known here."""
    if data.startswith(PNG_MAGIC):
        return _bare_png(data)
    if data.startswith(JPEG_MAGIC):
        return _bare_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _bare_webp(data)
    if is_avif(data) or is_heic(data):
        return boxes.without_metadata(data)
    return None


def _bare_png(data: bytes) -> bytes | None:
    kept, position = [PNG_MAGIC], len(PNG_MAGIC)
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(data):
            return b"".join(kept)
        kind = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if kind in PNG_KEPT and (kind != b"eXIf" or _is_whole(data[position:end])):
            kept.append(data[position:end])
        position = end
    return None


def _is_whole(chunk: bytes) -> bool:
    """Return whether the checksum of a PNG's chunk is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _bare_jpeg(data: bytes) -> bytes | None:
    kept = [JPEG_MAGIC]
    for count, (marker, position, body) in enumerate(segments(data)):
        if marker == START_OF_SCAN[1]:
            return b"".join([*kept, data[position:]])
        if count == MOST_SEGMENTS:
            break
        beginning, least = JPEG_KEPT.get(marker, (b"", 0))
        is_named = marker in JPEG_KEPT and body.startswith(beginning) and len(body) >= least
        if is_named or not (APP0 <= marker <= APP15 or marker == COMMENT):
            kept.append(data[position : position + 4 + len(body)])
    return None


def _bare_webp(data: bytes) -> bytes | None:
    kept, position = [b"WEBP"], 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(data):
            body = b"".join(kept)
            return b"RIFF" + len(body).to_bytes(4, "little") + body
        kind, length = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        end = position + 8 + length + length % 2
        if kind in WEBP_KEPT:
            chunk = bytearray(data[position:end])
            if kind == b"VP8X" and len(chunk) > 8:
                chunk[8] &= ~WEBP_METADATA_FLAGS
            kept.append(bytes(chunk))
        position = end
    return None
