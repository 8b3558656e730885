"""The colours of a picture: values of any mode and depth become RGB, or grey, of 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.picture import Picture
from serving.model.inputs.image.spec import ImageInputSpec


def to_rgb(picture: Picture, spec: ImageInputSpec) -> Image.Image:
    """Convert a picture to RGB, or to ``L`` where it is grey, which is resized three times as fast.

    Args:
        picture: The upright picture.
        spec: Input spec with the rules, the background and the window.

    Raises:
        InputRefusedError: By rules 2: the picture has extra bands, greys without a known range, or a colour
            space that cannot be converted.
    """
    if picture.pixels is not None:
        return picture.image
    if spec.rules == 1:
        return _to_rgb_by_rules_1(picture.image)
    _refuse_extra_bands(picture)
    if picture.is_deep:
        return _to_grey(picture, spec)
    return _composite(picture.image, spec.background)


def _to_rgb_by_rules_1(image: Image.Image) -> Image.Image:
    """Convert as all bundles without the field ``rules`` did: greys are clipped to 16 bits, alpha dropped."""
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float64) / 257.0
        image = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return _convert(image, "RGB")


def _refuse_extra_bands(picture: Picture) -> None:
    shown = picture.image.getbands()
    if picture.bands > len(shown):
        text = (
            f"The picture has {picture.bands} bands, of which only {len(shown)} ({', '.join(shown)}) would "
            "be seen. Save it with the bands that count, as grey, RGB or RGBA."
        )
        raise InputRefusedError("not_an_image", text)


def _to_grey(picture: Picture, spec: ImageInputSpec) -> Image.Image:
    """Scale a deep grey to 8 bits, by the window or the range of its type."""
    window = spec.window or picture.value_range
    if window is None:
        kind = "floating-point numbers" if picture.image.mode == "F" else "integers of up to 32 bits"
        text = (
            f"The values of the picture are {kind}, and nothing says which of them are black and white. Send "
            "greys of 8 or 16 bits, or train a model that names these values: `image.window: [low, high]`."
        )
        raise InputRefusedError("not_an_image", text)
    values = np.asarray(picture.image)
    grey = Image.fromarray(scale(values, window, inverted=picture.white_is_zero))
    key = picture.image.info.get("transparency")
    if key is None or spec.background is None:
        return grey
    grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return _composite(grey, spec.background)


def scale(values: NDArray[np.generic], window: tuple[float, float], *, inverted: bool) -> NDArray[np.uint8]:
    """Scale values so that a window becomes black to white; what is outside, or no number, is cut to it.

    Args:
        values: Numbers of any type and shape.
        window: The values that become 0 and 255.
        inverted: Whether they become 255 and 0 instead.

    Returns:
        uint8 of the same shape.
    """
    low, high = window
    exact = np.clip(np.nan_to_num(values.astype(np.float64), nan=low), low, high)
    exact -= low
    exact *= 255 / (high - low)
    levels = np.rint(exact, out=exact).astype(np.uint8)
    return 255 - levels if inverted else levels


def _composite(image: Image.Image, background: str | None) -> Image.Image:
    """Lay a picture over a colour."""
    if background is None or not image.has_transparency_data:
        return image if image.mode == "L" else _convert(image, "RGB")
    above = _convert(_convert(image, "LA") if image.mode == "La" else image, "RGBA")
    whole = Image.new("RGB", image.size, background)
    whole.paste(above, mask=above)
    return whole


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image  # Pillow would copy it
    try:
        return image.convert(mode)
    except ValueError as error:
        text = f"The picture's colour space, {image.mode}, is not read. Save it as RGB."
        raise InputRefusedError("not_an_image", text) from error
