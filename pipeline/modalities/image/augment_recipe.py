"""The section ``finetune.augment`` of pictures: levels, single changes, and pipelines of two libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from pipeline.modalities.image.transforms import name_transforms
from pipeline.recipe.data import Section

Level = Literal["none", "crop", "light", "strong"]
Flip = bool | Literal["auto"]
Share = Annotated[float, Field(ge=0, le=1)]
NONE: Final[Mapping[str, JsonValue]] = {
    "crop_scale": [1.0, 1.0],
    "rotation": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "blur": 0.0,
    "erasing": 0.0,
    "rand_augment": 0,
}
LEVELS: Final[Mapping[str, Mapping[str, JsonValue]]] = {
    "none": NONE,
    "crop": {**NONE, "crop_scale": [0.7, 1.0]},
    "light": {
        **NONE,
        "crop_scale": [0.7, 1.0],
        "rotation": 5.0,
        "brightness": 0.1,
        "contrast": 0.1,
        "saturation": 0.1,
    },
    "strong": {
        "crop_scale": [0.5, 1.0],
        "rotation": 15.0,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
        "hue": 0.03,
        "blur": 0.1,
        "erasing": 0.25,
        "rand_augment": 2,
    },
}
"""The values of the keys that a recipe leaves out, by its level. None of the levels mirrors."""
PIPELINES: Final = ("transforms", "albumentations")


class ImageAugment(Section):
    """Random changes of the training pictures, none of which may change the label.

    Instead of the section a recipe may hold the name of a level alone, or a list of ``transforms``. The
    changes of the keys come first, and then ``rand_augment``, ``transforms``, ``albumentations`` and
    ``erasing``, in this order.

    Attributes:
        level: Values of the keys that are left out: ``none`` for no change, ``crop`` for crops alone,
            ``light`` for crops, small turns and small changes of the colours, ``strong`` for larger ones with
            blur, erasing and RandAugment. No level mirrors. ``none`` where ``transforms`` or
            ``albumentations`` is given.
        horizontal_flip: Whether half of the pictures, drawn by chance, are mirrored left to right. Classes
            such as left and right, digits or letters do not survive it. ``auto`` does so where neither the
            labels nor a trial on frozen features speak against it; ``true`` warns where they do.
        vertical_flip: The same from top to bottom.
        crop_scale: Least and largest share of the area that a random crop keeps; ``[1.0, 1.0]`` for no crop.
            Crops are cut from pictures that are kept larger than the network's input.
        rotation: Largest angle, in degrees, by which a picture is turned either way.
        brightness: Largest relative change of the brightness, either way.
        contrast: Largest relative change of the contrast, either way.
        saturation: Largest relative change of the saturation, either way.
        hue: Largest change of the hue, either way, as a share of the whole circle.
        blur: Share of the pictures that are blurred.
        erasing: Share of the pictures of which a rectangle is erased (arXiv:1708.04896).
        rand_augment: Number of RandAugment's operations on each picture (arXiv:1909.13719); 0 for none.
        rand_augment_magnitude: Magnitude of these operations, from 0 to 30.
        transforms: Transforms of torchvision.transforms.v2 by name, such as ``RandomInvert``, or as a mapping
            from the name to the arguments, such as ``RandomRotation: {degrees: 10}``.
        albumentations: Path of a pipeline that Albumentations saved as JSON or YAML; needs the extra
            ``albumentations``. Relative paths count from the recipe's folder.
    """

    level: Level = "crop"
    horizontal_flip: Flip = "auto"
    vertical_flip: Flip = False
    crop_scale: tuple[float, float] = (0.7, 1.0)
    rotation: float = Field(default=0.0, ge=0, le=180)
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)
    blur: Share = 0.0
    erasing: Share = 0.0
    rand_augment: int = Field(default=0, ge=0, le=10)
    rand_augment_magnitude: int = Field(default=9, ge=0, le=30)
    transforms: tuple[dict[str, JsonValue], ...] = ()
    albumentations: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_level(cls, given: object) -> object:
        """Take the name of a level or a list of transforms for a section, and fill in the level's values."""
        if isinstance(given, str):
            given = {"level": given}
        if isinstance(given, list | tuple):
            given = {"transforms": list(given)}
        if not isinstance(given, Mapping):
            return given
        level = given.get("level", "none" if any(given.get(key) for key in PIPELINES) else "crop")
        values = LEVELS.get(level, {}) if isinstance(level, str) else {}
        return {"level": level, **values, **given}

    @field_validator("transforms", mode="before")
    @classmethod
    def _know_transforms(cls, given: object) -> object:
        """Refuse what is no transform, and bring every one into the form ``{name: {argument: value}}``."""
        return name_transforms(given)

    @model_validator(mode="after")
    def _scales_are_shares(self) -> ImageAugment:
        """Refuse scales that are no shares of an area, or not in order."""
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError("crop_scale must be two shares of the area, 0 < low <= high <= 1")
        return self

    @property
    def crops(self) -> bool:
        """Whether a picture may be cropped."""
        return self.crop_scale[0] < 1

    @property
    def flips(self) -> bool:
        """Whether a picture may be mirrored; not as long as that is undecided."""
        return self.horizontal_flip is True or self.vertical_flip is True

    @property
    def recolours(self) -> bool:
        """Whether colours may change."""
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0

    @property
    def has_pipeline(self) -> bool:
        """Whether pictures pass one by one through transforms of a library."""
        return bool(self.rand_augment or self.transforms or self.albumentations)

    @property
    def changes(self) -> bool:
        """Whether anything may change."""
        by_place = self.crops or self.flips or self.rotation > 0
        return by_place or self.recolours or self.blur > 0 or self.erasing > 0 or self.has_pipeline

    def with_places(self, change: Callable[[str], str]) -> ImageAugment:
        """Return the section with its path changed.

        Args:
            change: From the path in the section to the one that takes its place.
        """
        if self.albumentations is None:
            return self
        return self.model_copy(update={"albumentations": change(self.albumentations)})
