"""Pictures as people see them: upright, in red, green and blue, whatever their file holds."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from PIL import Image

from pipeline.modalities.image.window import extremes_of
from serving.model.inputs.image.colours import to_rgb
from serving.model.inputs.image.reading import read_picture
from serving.model.inputs.image.sizes import reduction
from serving.model.inputs.image.spec import ImageInputSpec

WHITE = "#ffffff"
GAP = 2.0


def to_shown(data: bytes, side: int | None = None) -> Image.Image:
    """Return a picture in red, green and blue.

    Transparent parts are white, and deep greys go from the picture's own least value to its greatest.

    Args:
        data: Bytes of the file.
        side: Side in pixels of the square that the picture is going to be resized to, of which a large JPEG
            is decoded at no more than twice as many rows and columns as are needed; None, the default, for
            every pixel.
    """
    size = side or 1
    spec = ImageInputSpec(
        height=size,
        width=size,
        rules=2,
        background=WHITE,
        crop_pct=1.0,
        crop_mode="squash",
        reducing_gap=GAP if side else None,
    )
    picture = read_picture(data, sys.maxsize, partial(reduction, spec=spec))
    window = extremes_of(picture)
    if window is not None:
        spec = spec.model_copy(update={"window": (window[0], max(window[1], window[0] + 1))})
    return to_rgb(replace(picture, bands=0), spec).convert("RGB")
