"""The sizes that a picture goes through on its way to the model: as it is decoded, and as it is resized."""

from __future__ import annotations

from typing import Final

from serving.model.inputs.image.spec import ImageInputSpec

DENOMINATORS: Final = (8, 4, 2)
"""The shares of its size at which a JPEG can be decoded, the smallest first: an eighth, a quarter, a half."""


def resized(height: int, width: int, spec: ImageInputSpec) -> tuple[int, int]:
    """Return the size, as (height, width) in pixels, to which a picture is resized before the crop.

    Args:
        height: Number of rows of the picture, upright.
        width: Number of its columns.
        spec: Input spec that names the model's size.
    """
    full_height, full_width = int(spec.height / spec.crop_pct), int(spec.width / spec.crop_pct)
    if spec.crop_mode == "squash":
        return full_height, full_width
    # The smallest picture of the same aspect ratio that covers the full box.
    if height * full_width <= width * full_height:
        return full_height, max(int(full_height * width / height), full_width)
    return max(int(full_width * height / width), full_height), full_width


def reduction(height: int, width: int, spec: ImageInputSpec) -> int:
    """Return the denominator of the share of its size at which a JPEG is decoded: 1, 2, 4 or 8.

    It is the largest that leaves ``spec.reducing_gap`` times as many rows and columns as the picture is
    resized to; 1 where there is none, or where the spec names no gap.

    Args:
        height: Number of rows of the picture, upright.
        width: Number of its columns.
        spec: Input spec that names the size and the gap.
    """
    if spec.reducing_gap is None:
        return 1
    rows, columns = (spec.reducing_gap * side for side in resized(height, width, spec))
    return next((each for each in DENOMINATORS if height / each >= rows and width / each >= columns), 1)
