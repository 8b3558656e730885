"""What a JPEG file says of itself before it is decoded: its segments and its scans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from PIL.JpegImagePlugin import MARKER

from serving.model.errors import InputRefusedError

MAGIC: Final = b"\xff\xd8"
END: Final = b"\xff\xd9"
START_OF_SCAN: Final = b"\xff\xda"
# Far more than any camera or editor writes. Pillow spends a pass over the whole picture on each scan, and
# Python code on each segment.
MOST_SCANS, MOST_SEGMENTS = 100, 4096
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
COEFFICIENTS: Final = range(64)
# A marker in the data of a scan: neither an escaped 0xff, nor padding, nor a restart marker.
NEXT_MARKER: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def refuse_slow_jpeg(data: bytes) -> None:
    """Refuse a small JPEG that would take minutes: of thousands of scans, or millions of segments.

    Raises:
        InputRefusedError: ``not_an_image``.
    """
    if not data.startswith(MAGIC):
        return
    position = 2
    for _ in range(MOST_SEGMENTS):
        if position + 4 > len(data) or data[position : position + 2] == START_OF_SCAN:
            break
        marker = int.from_bytes(data[position : position + 2])
        is_segment = marker in MARKER and MARKER[marker][2] is not None
        length = max(2, int.from_bytes(data[position + 2 : position + 4]))
        position += 2 + length if is_segment else 1  # Pillow skips a byte that begins no segment
    else:
        text = f"The JPEG has more than {MOST_SEGMENTS:,} segments before its first scan."
        raise InputRefusedError("not_an_image", text)
    if data.count(START_OF_SCAN, position) > MOST_SCANS:
        raise InputRefusedError("not_an_image", f"The JPEG has more than {MOST_SCANS} scans.")


def segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the segments of a JPEG that have a length.

    Yields:
        The second byte of the segment's marker, the position of the marker, and what is behind the length.
    """
    position = 2
    while (found := NEXT_MARKER.search(data, position)) is not None:
        position, marker = found.start(), found[1][0]
        if marker in (MAGIC[1], END[1]):
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        yield marker, position, data[position + 4 : position + 2 + length]
        position += 2 + max(2, length)


def has_every_scan(data: bytes) -> bool:
    """Return whether the scans of a JPEG, whole or cut, bring every coefficient of every component."""
    missing: dict[int, set[int]] = {}
    is_progressive = False
    for marker, _, body in segments(data):
        if marker in FRAMES:
            is_progressive = marker in PROGRESSIVE
            missing = {component: set(COEFFICIENTS) for component in body[6::3]}
        elif marker == START_OF_SCAN[1] and body:
            header = 1 + 2 * body[0]
            first, last, bits = body[header : header + 3].ljust(3, b"\xff")
            is_last_pass = bits & 0x0F == 0
            brought = range(first, last + 1) if is_progressive else COEFFICIENTS
            for component in body[1:header:2]:
                if is_last_pass or not is_progressive:
                    missing.get(component, set()).difference_update(brought)
    return bool(missing) and not any(missing.values())
