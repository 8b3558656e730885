"""What the audit asks of a modality; nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipeline.modalities.image import content as image
from pipeline.modalities.text import content as text
from pipeline.recipe.sections import Recipe, TextRecipe


@dataclass(frozen=True)
class Content:
    """How to judge a sample's bytes.

    Attributes:
        check: Raises InputRefusedError for what serving would refuse.
        identity: SHA-256, in hex, which two samples share when they are the same to a person.
    """

    check: Callable[[bytes], None]
    identity: Callable[[bytes], str]


def content_of(recipe: Recipe) -> Content:
    """The recipe's modality's."""
    if isinstance(recipe, TextRecipe):
        return Content(partial(text.check, max_characters=recipe.text.max_characters), text.identity)
    return Content(image.check, image.identity)
