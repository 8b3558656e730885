"""Files of boxes (ISO base media), as phones write them: which are AVIF, and which HEIC."""

from __future__ import annotations

from typing import Final

HEADER: Final = 8
"""Bytes of a box's length and its type."""
AVIF: Final = frozenset({b"avif", b"avis"})
HEIC: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
EITHER: Final = frozenset({b"mif1", b"msf1", b"miaf"})
"""Brands of files whose further brands say which of them they are."""
METADATA: Final = frozenset({b"Exif", b"mime"})
"""The types of the items that are metadata: EXIF, and XMP as any media type."""


def is_avif(data: bytes) -> bool:
    """Return whether bytes begin like an AVIF file."""
    return _is_any(data, AVIF)


def is_heic(data: bytes) -> bool:
    """Return whether bytes begin like a HEIC file, or another one whose pictures libheif decodes."""
    return _is_any(data, HEIC) or (data[4:8] == b"ftyp" and data[8:12] in EITHER and not is_avif(data))


def _is_any(data: bytes, brands: frozenset[bytes]) -> bool:
    if data[4:8] != b"ftyp":
        return False
    if data[8:12] in AVIF | HEIC:
        return data[8:12] in brands
    further = data[16 : min(int.from_bytes(data[:4]), 256)]
    named = {further[start : start + 4] for start in range(0, len(further), 4)}
    return data[8:12] in EITHER and not named.isdisjoint(brands)


def without_metadata(data: bytes) -> bytes:
    """Return a file of boxes whose items of metadata are called what no reader looks for."""
    position = 0
    while position + HEADER <= len(data):
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if kind == b"meta":
            end = position + length
            return data[:position] + _renamed(data[position:end]) + data[end:]
        if length < HEADER:
            break
        position += length
    return data


def _renamed(meta: bytes) -> bytes:
    """Rename the items of metadata in the box ``meta``, whose entries ``infe`` end in their type."""
    changed, position = bytearray(meta), meta.find(b"infe")
    while position >= 0:
        # The entry's version and flags, the item's number of two or four bytes, and its protection of two.
        wide = 2 if meta[position + 4 : position + 5] == b"\x03" else 0
        place = position + 12 + wide
        if meta[place : place + 4] in METADATA:
            changed[place : place + 4] = b"free"
        position = meta.find(b"infe", position + 4)
    return bytes(changed)
