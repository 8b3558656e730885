"""Decoding of pictures: the bytes of a file become a uint8 array, by the bundle's input spec.

Training reads its pictures through :func:`decode_image` too, so that what is served is what was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.model.inputs.image.colours import to_rgb
from serving.model.inputs.image.picture import Picture
from serving.model.inputs.image.reading import read_picture
from serving.model.inputs.image.resizing import require_resizer, resize
from serving.model.inputs.image.sizes import reduction, resized
from serving.model.inputs.image.spec import MAX_PIXELS, ImageInputSpec
from serving.model.inputs.item import Feeds, Item

MOST_RESIZED: Final = MAX_PIXELS
"""Number of pixels past which a picture is not resized as a whole before the crop."""


class ImagePreprocessor:
    """Decodes picture files to pixels, and combines pixels into batches.

    Args:
        spec: Input spec that says how.

    Raises:
        BundleError: The spec's resizer is not installed.
    """

    def __init__(self, spec: ImageInputSpec) -> None:
        require_resizer(spec)
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
        data: Bytes of a file in one of ``reading.FORMATS``, or HEIC. Of several frames the first is used.
        spec: Input spec that names the size, and how the picture is brought to it.

    Returns:
        A C-contiguous uint8 array of shape ``(spec.height, spec.width, 3)``, RGB, 0 to 255.

    Raises:
        InputRefusedError: As :func:`~serving.model.inputs.image.reading.read_picture` and
            :func:`~serving.model.inputs.image.colours.to_rgb` raise it.
    """
    return np.ascontiguousarray(fit(to_rgb(open_picture(data, spec), spec), spec))


def open_picture(data: bytes, spec: ImageInputSpec) -> Picture:
    """Read a picture with as many pixels as its resizing needs; see :func:`read_picture`."""
    return read_picture(data, spec.max_pixels, partial(reduction, spec=spec))


def fit(image: Image.Image, spec: ImageInputSpec) -> NDArray[np.uint8]:
    """Resize, then crop the centre: torchvision's ``Resize`` and ``CenterCrop``, with Pillow to the pixel.

    Args:
        image: The picture, ``RGB`` or ``L``.
        spec: Input spec that names the size.

    Returns:
        uint8 of shape ``(spec.height, spec.width, 3)``.
    """
    height, width = resized(image.height, image.width, spec)
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    if height * width > min(spec.max_pixels, MOST_RESIZED):
        # A strip of 1 x 20,000 pixels would grow to a thousand megapixels, of which the crop keeps a square.
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, (left + spec.width) * across, (top + spec.height) * down)
        return np.asarray(resize(image, (spec.width, spec.height), spec, box).convert("RGB"))
    if (image.height, image.width) != (height, width):
        image = resize(image, (width, height), spec)
    return np.asarray(image.convert("RGB"))[top : top + spec.height, left : left + spec.width]
