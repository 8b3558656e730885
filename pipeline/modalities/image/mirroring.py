"""Mirroring of pictures as a change that labels and a trial decide on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from pipeline.modalities.changes import Change
from pipeline.modalities.image.augment_recipe import Flip, ImageAugment
from pipeline.modalities.image.examples import ImageExamples
from pipeline.modalities.image.sides import Axis, why_not_mirror

NAMES: Final[dict[Axis, str]] = {
    "horizontal": "mirroring left to right",
    "vertical": "mirroring top to bottom",
}


def mirrorings_of(choice: ImageAugment) -> tuple[Change, ...]:
    """Return the mirrorings of a recipe, each with what the recipe says of it."""
    return tuple(_changes(choice))


def _changes(choice: ImageAugment) -> Iterator[Change]:
    wishes: dict[Axis, Flip] = {"horizontal": choice.horizontal_flip, "vertical": choice.vertical_flip}
    for axis, wish in wishes.items():
        yield _mirroring(axis, wish)


def _mirroring(axis: Axis, wish: Flip) -> Change:
    """Return the mirroring along an axis."""
    key = f"{axis}_flip"

    def forbidden(labels: Sequence[str]) -> str | None:
        return why_not_mirror(labels, axis)

    def apply(examples: ImageExamples) -> ImageExamples:
        return examples.mirrored(axis)

    def decide(examples: ImageExamples, is_used: bool) -> ImageExamples:  # noqa: FBT001 - Change's own form
        return replace(examples, choice=examples.choice.model_copy(update={key: is_used}))

    return Change(
        key=f"finetune.augment.{key}",
        name=NAMES[axis],
        wish=None if wish == "auto" else bool(wish),
        forbidden=forbidden,
        apply=apply,
        decide=decide,
    )
