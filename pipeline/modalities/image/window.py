"""The window of pictures whose greys are deeper than 8 bits: which values are black and white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.picture import Picture
from serving.model.inputs.image.reading import read_picture

MOST_OPENED: Final = 64
MOST_PIXELS: Final = 200_000_000
WIDE_ENOUGH: Final = 0.5
"""Share of the range of their type that greys use at least if they need no window."""
DIGITS: Final = 6


def find_window(paths: Sequence[Path]) -> tuple[float, float] | None:
    """Look at some pictures, and propose which of their values are black and white.

    Args:
        paths: Paths of pictures, of which 64 at most are opened, evenly spread. What cannot be read is
            passed over.

    Returns:
        The recipe's ``image.window``; None where the pictures have 8 bits, or use the range of their type.
    """
    step = max(1, len(paths) / MOST_OPENED)
    chosen = [paths[int(index * step)] for index in range(min(len(paths), MOST_OPENED))]
    seen = [measured for path in chosen if (measured := _measure(path)) is not None]
    if not seen:
        return None
    low, high = min(low for low, _, _ in seen), max(high for _, high, _ in seen)
    widths = [width for _, _, width in seen if width is not None]
    if len(widths) == len(seen) and high - low >= WIDE_ENOUGH * min(widths):
        return None
    return round_window(low, high)


def _measure(path: Path) -> tuple[float, float, float | None] | None:
    """Return a deep picture's least and greatest value and the width of its range; None for any other."""
    try:
        picture = read_picture(path.read_bytes(), MOST_PIXELS)
    except (OSError, InputRefusedError):
        return None
    extremes = extremes_of(picture)
    return None if extremes is None else (*extremes, range_width(picture))


def extremes_of(picture: Picture) -> tuple[float, float] | None:
    """Return the least and greatest finite value of a deep picture; None for a picture of 8 bits."""
    import numpy as np

    if not picture.is_deep:
        return None
    values = np.asarray(picture.image)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def range_width(picture: Picture) -> float | None:
    """Return the width of the range that a deep picture's type has; None where it has none."""
    if picture.value_range is None:
        return None
    low, high = picture.value_range
    return high - low


def round_window(low: float, high: float) -> tuple[float, float]:
    """Widen the range of some measured values to the range that their instrument probably has.

    Whole numbers from 0 on become 0 and a power of two less one, such as 4,095; shares become 0 and 1.
    Other values are left as they are, to six digits.
    """
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and low.is_integer() and high.is_integer():
        # By the number of bits: a logarithm rounds 2 to the 49th and its neighbour to one number.
        return 0.0, float((1 << int(high).bit_length()) - 1)
    step = 10.0 ** (math.floor(math.log10(max(abs(low), abs(high)))) - DIGITS + 1)
    window = math.floor(low / step) * step, math.ceil(high / step) * step
    return float(f"{window[0]:.{DIGITS}g}"), float(f"{window[1] + (step if low == high else 0):.{DIGITS}g}")
