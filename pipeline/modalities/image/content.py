"""The audit of pictures: which are usable, which are the same, and what is odd about all of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.modalities.content import Content, Facts, Judgement, Review
from pipeline.modalities.image.rules import DecodingRules
from pipeline.modalities.image.window import extremes_of, range_width, round_window
from serving.model.errors import InputRefusedError
from serving.model.inputs.image.colours import to_rgb
from serving.model.inputs.image.reading import read_picture
from serving.model.inputs.image.spec import ImageInputSpec

LEVELS: Final = 255
GREY: Final = 2
"""Number of dimensions of greys."""
FEW_ROWS: Final = 16
LEAST_SPREAD: Final = 8
"""Levels of 255 between the darkest and the brightest value below which a picture shows nothing."""
MOST_CONSTANT: Final = 0.5
"""Share of such pictures past which the data are refused."""
NARROW: Final = 1 / 8
"""Share of the range of their type that deep greys must use."""
WIDE: Final = 1 / 2
"""Share of it below which a warning says how much they use."""
CONSTANT: Final = "the picture is of one colour, or nearly so"


def create_content(rules: DecodingRules, settings: str) -> Content:
    """Return how the audit judges pictures.

    Args:
        rules: The rules by which training and serving decode them.
        settings: JSON of the part of the recipe that the rules come from.
    """
    # Training and serving decode a share of what is decoded here, and resize it, which refuses nothing.
    spec = ImageInputSpec(height=1, width=1, **rules)
    once = partial(judge, spec=spec)
    return Content(
        check=once,
        identity=lambda data: once(data).identity.hex(),
        settings=settings,
        judge_once=once,
        review=partial(review, has_window=spec.window is not None),
    )


def judge(data: bytes, spec: ImageInputSpec) -> Judgement:
    """Decode every pixel of a picture once, for its identity and its facts.

    Two pictures are the same when their sizes and their pixels are, upright and over the background; file
    format and metadata do not count. Deep greys without a known range are refused by :func:`review`, which
    knows the remedy.

    Raises:
        InputRefusedError: Serving would refuse the picture for another reason.
    """
    try:
        picture = read_picture(data, spec.max_pixels)
    except InputRefusedError as refusal:
        if refusal.code != "too_many_pixels":
            raise
        text = f"{refusal.message} Set image.max_pixels in the recipe to accept more."
        raise InputRefusedError(refusal.code, text, refusal.status) from refusal
    if picture.pixels is not None:
        return Judgement(_identity(picture.pixels), Facts(_spread(picture.pixels)))
    extremes = extremes_of(picture)
    if extremes is None:
        pixels = np.asarray(to_rgb(picture, spec))
        return Judgement(_identity(pixels), Facts(_spread(pixels)))
    low, high = extremes
    is_known = spec.window is not None or picture.value_range is not None
    known = spec if is_known else spec.model_copy(update={"window": (low, max(high, low + 1))})
    pixels = np.asarray(to_rgb(picture, known))
    return Judgement(_identity(pixels), Facts(_spread(pixels), low, high, range_width(picture)))


def _identity(pixels: NDArray[np.uint8]) -> bytes:
    """Return the hash of pixels, of shape (height, width, 3), or of greys, of shape (height, width)."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width} x {height}\n".encode())
    colours = pixels if pixels.ndim > GREY else np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    digest.update(np.ascontiguousarray(colours).data)
    return digest.digest()


def _spread(pixels: NDArray[np.uint8]) -> int:
    """Return the widest range of the channels, in levels; that of a few rows where these show something."""
    few = pixels[:: max(1, len(pixels) // FEW_ROWS)]
    spread = _widest(few)
    return spread if spread >= LEAST_SPREAD or len(few) == len(pixels) else _widest(pixels)


def _widest(pixels: NDArray[np.uint8]) -> int:
    # NumPy is slow along an axis whose numbers do not lie side by side.
    channels = np.ascontiguousarray(pixels.reshape(-1, *pixels.shape[GREY:]).T)
    return int(np.ptp(channels, axis=-1).max())


def review(facts: Mapping[str, Facts], *, has_window: bool) -> Review:
    """Judge pictures together.

    Args:
        facts: The facts of each picture, by its source.
        has_window: Whether the recipe states the window of deep greys.

    Raises:
        DataError: Deep greys have no known range or use an eighth of it at most, or more than half of the
            pictures are of one colour.
    """
    warnings = () if has_window else _review_range(facts)
    constant = {source: CONSTANT for source, seen in facts.items() if seen.spread < LEAST_SPREAD}
    if len(constant) > MOST_CONSTANT * len(facts):
        shown = ", ".join(list(constant)[:5])
        raise DataError(
            f"{len(constant)} of {len(facts)} pictures are of one colour, or nearly so, once they are "
            f"decoded, such as {shown!a}. Look at them, and check image.background and image.window in "
            "the recipe."
        )
    return Review(constant, warnings)


def _review_range(facts: Mapping[str, Facts]) -> tuple[str, ...]:
    """Return a warning where deep greys use less than half of the range of their type."""
    deep = [(seen.low, seen.high, seen.range_width) for seen in facts.values() if seen.low is not None]
    if not deep:
        return ()
    low, high = min(low for low, _, _ in deep), max(high for _, high, _ in deep if high is not None)
    proposed = ", ".join(f"{value:.10g}" for value in round_window(low, high))
    remedy = f"Set `image.window: [{proposed}]` in the recipe: the values that become black and white."
    values = f"with values from {low:.10g} to {high:.10g}"
    measured = f"The greys of {len(deep)} pictures are deeper than 8 bits, {values}"
    widths = [width for _, _, width in deep if width is not None]
    if len(widths) < len(deep):
        raise DataError(f"{measured}, and their files do not say which are black and white. {remedy}")
    share = (high - low) / min(widths)
    used = f"{measured}, {share:.1%} of the range of their type"
    if share < NARROW:
        raise DataError(f"{used}: the network would see almost nothing. {remedy}")
    return (f"{used}. {remedy}",) if share < WIDE else ()
