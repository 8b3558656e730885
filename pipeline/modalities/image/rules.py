"""The rules by which files become pictures, from the recipe's section ``image``."""

from __future__ import annotations

from typing import Literal, TypedDict

from pipeline.modalities.image.recipe import Image, canonical_colour


class DecodingRules(TypedDict):
    """The fields of an input spec that say how a file becomes red, green and blue.

    :class:`serving.model.inputs.image.spec.ImageInputSpec` explains each.
    """

    rules: Literal[2]
    background: str | None
    window: tuple[float, float] | None
    max_pixels: int


def decoding_rules(image: Image) -> DecodingRules:
    """Return the rules that a recipe asks for, which the audit, the training and the service share."""
    return DecodingRules(
        rules=2,
        background=None if image.background is None else canonical_colour(image.background),
        window=image.window,
        max_pixels=image.max_pixels,
    )
