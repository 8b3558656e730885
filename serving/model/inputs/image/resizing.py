"""Resizing of pictures, by the resizer that the input spec names: each gives pixels of its own."""

from __future__ import annotations

import functools
import importlib
from typing import Any, Final

from PIL import Image

from serving.model.errors import BundleError
from serving.model.inputs.image.spec import CYKOOZ, CYKOOZ_MISSING, ImageInputSpec

RESAMPLING: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# The filters of the same formulas as Pillow's, by the names of the fast_image_resize library.
FILTERS: Final = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
Box = tuple[float, float, float, float]


def require_resizer(spec: ImageInputSpec) -> None:
    """Raise where the resizer of an input spec is not installed, before there is any picture.

    Raises:
        BundleError: ``missing_package``.
    """
    if spec.resizer == "cykooz":
        _load_cykooz()


def resize(
    image: Image.Image, size: tuple[int, int], spec: ImageInputSpec, box: Box | None = None
) -> Image.Image:
    """Resize a picture with the spec's filter, antialiased where it becomes smaller.

    Args:
        image: The picture, ``RGB`` or ``L``.
        size: The (width, height) that it is resized to, in pixels.
        spec: Input spec that names the resizer and the filter.
        box: The (left, top, right, bottom) of the part that is resized, in pixels; None, the default, for all
            of the picture.

    Returns:
        A picture of the same mode. Both resizers compute with integers, so that it is the same on every CPU.
    """
    if spec.resizer == "pillow":
        return image.resize(size, RESAMPLING[spec.interpolation], box)
    cykooz = _load_cykooz()
    small = Image.new(image.mode, size)
    # A resizer holds buffers, and must not be used by two threads at once.
    cykooz.Resizer().resize_pil(image, small, _options(cykooz, spec.interpolation, box))
    return small


def _options(cykooz: Any, interpolation: str, box: Box | None) -> Any:  # noqa: ANN401 - it has no types
    method = cykooz.ResizeAlg.nearest()
    if interpolation != "nearest":
        method = cykooz.ResizeAlg.convolution(cykooz.FilterType[FILTERS[interpolation]])
    if box is None:
        return cykooz.ResizeOptions(method)
    left, top, right, bottom = box
    return cykooz.ResizeOptions(method, crop_box=cykooz.CropBox(left, top, right - left, bottom - top))


@functools.cache
def _load_cykooz() -> Any:  # noqa: ANN401 - it has no types
    try:
        return importlib.import_module(CYKOOZ)
    except ImportError as error:
        raise BundleError("missing_package", CYKOOZ_MISSING) from error
