"""The recipe of pictures: the sections that only they have, and their own defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from pipeline.modalities.image.augment_recipe import ImageAugment as ImageAugment  # noqa: PLC0414
from pipeline.modalities.image.names import PACKAGES, folder_of, split_name, with_folder
from pipeline.recipe.sections import Backbone, Finetune, Recipe, Section


class ImageBackbone(Backbone):
    """The pretrained network.

    Attributes:
        name: timm's name of the architecture, or ``hf-hub:ORGANISATION/NAME`` for timm's networks on the hub.
        weights: ``hub`` for the source's own, which needs a network or a filled cache; a ``.safetensors``
            file, or one that torch saved (``.pth``, ``.pt``, ``.bin``, ``.ckpt``), whose head, if it has any,
            need not fit; or ``package:NAME/PATH``.
        mapping: ``names`` when the file has timm's tensor names; ``order`` when it has other names for the
            same tensors in the same order.
    """

    mapping: Literal["names", "order"] = "names"

    def code(self) -> str | None:
        """Return the folder of a network of PyTorch Hub."""
        return folder_of(self.name)

    def packages(self) -> tuple[str, ...]:
        """Return what the network's source needs besides torch, timm and torchvision."""
        return PACKAGES[split_name(self.name)[0]]

    def with_places(self, change: Callable[[str], str]) -> Self:
        """Return the section with the places of the weights, and of the network's code, changed."""
        changed = super().with_places(change)
        return changed.model_copy(update={"name": with_folder(self.name, change)})


class Image(Section):
    """The preparation of pictures; what is left out comes from timm's configuration of the backbone.

    Attributes:
        size: Side of the square input, in pixels. Networks that are made for one size, such as vision
            transformers, are made for this one, and what they know of positions is resampled.
        crop_pct: Share of the resized picture's side that the crop keeps.
        crop_mode: ``center`` keeps the aspect ratio and cuts off what is outside the square; ``squash``
            resizes each side for itself.
        interpolation: Method of resizing.
        mean: Mean of red, green and blue, of pixels scaled to [0, 1], which is subtracted.
        std: Standard deviation of red, green and blue, which the pixels are then divided by.
        background: Colour under the transparent parts of pictures: a name such as ``white``, or ``#rrggbb``.
            ``null`` drops the transparency, so that the colours which it hides are seen.
        window: The two values that become black and white, for greys deeper than 8 bits. By default they are
            the least and greatest value of the files' type, which floating-point numbers and whole numbers of
            32 bits do not have.
        max_pixels: Number of pixels past which a picture is refused.
        resizer: Library that resizes, in training and in service alike: ``cykooz`` is several times as fast
            as ``pillow``, and some of its pixels differ by one or two.
        reducing_gap: A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves so
            many times the rows and columns that it is resized to, which saves most of the work on photographs
            of many megapixels. ``null`` decodes every pixel.
    """

    size: int | None = Field(default=None, ge=16, le=2048)
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    crop_mode: Literal["center", "squash"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    background: str | None = "white"
    window: tuple[float, float] | None = None
    max_pixels: int = Field(default=50_000_000, gt=0, le=1_000_000_000)
    resizer: Literal["cykooz", "pillow"] = "cykooz"
    reducing_gap: float | None = Field(default=2.0, ge=1)

    @field_validator("background")
    @classmethod
    def _know_colour(cls, background: str | None) -> str | None:
        """Refuse what is no colour."""
        if background is not None:
            canonical_colour(background)
        return background

    @field_validator("window")
    @classmethod
    def _order_window(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        """Refuse a window without a width."""
        if window is not None and not 0 < window[1] - window[0] < float("inf"):
            raise ValueError("window must be two numbers, the one that becomes black below the other")
        return window


def canonical_colour(name: str) -> str:
    """Return a colour as ``#rrggbb``.

    Args:
        name: Any name or notation of an opaque colour that Pillow knows.

    Raises:
        ValueError: It knows no such colour, or the colour is transparent.
    """
    from PIL import ImageColor

    try:
        channels: tuple[int, ...] = ImageColor.getrgb(name)
    except ValueError:
        channels = ()
    if len(channels) != len("rgb"):
        raise ValueError(f"{name!r} is no opaque colour; write #rrggbb, or a name such as white")
    return f"#{bytes(channels).hex()}"


class ImageFinetune(Finetune):
    """The training of an image backbone.

    Attributes:
        batch_norm: ``train`` updates the batch statistics; ``frozen`` keeps the pretrained ones; ``auto``
            trains them where steps and batches are many enough for statistics of their own.
        augment: Random changes of the training pictures: the name of a level, a section, or a list of
            transforms.
        distill: Views of each picture whose answers are averaged after training (test-time augmentation), to
            measure on validation whether that is better; if so, the average is taught to the network, so that
            what is served still makes one pass. ``mirror`` is for pictures whose left and right may be
            exchanged, ``symmetries``, all eight turns and mirror images, for those that also have no up.
    """

    batch_norm: Literal["auto", "train", "frozen"] = "auto"
    augment: ImageAugment = ImageAugment()
    distill: Literal["none", "mirror", "symmetries"] = "none"

    @model_validator(mode="after")
    def _leave_something_to_teach(self) -> Self:
        """Refuse to teach a network of which the recipe trains nothing but the head."""
        if self.distill != "none" and self.mode in {"features", "lora"}:
            raise ValueError(
                f"distill: {self.distill} goes on training the whole network, and mode: {self.mode} does not;"
                " choose another mode, or distill: none"
            )
        return self

    def places(self) -> Mapping[str, str]:
        """Return the pipeline of Albumentations, where there is one."""
        place = self.augment.albumentations
        return {} if place is None else {"finetune.augment.albumentations": place}

    def packages(self) -> tuple[str, ...]:
        """Return Albumentations and what it computes with, where a pipeline of it is given."""
        return ("albumentations", "albucore", "opencv-python-headless") if self.augment.albumentations else ()

    def with_places(self, change: Callable[[str], str]) -> Self:
        """Return the section with the place of the pipeline of Albumentations changed."""
        return self.model_copy(update={"augment": self.augment.with_places(change)})


class ImageRecipe(Recipe):
    """Every choice of a run on pictures.

    Attributes:
        modality: The kind of input.
        backbone: The pretrained network.
        image: The preparation of pictures for the network.
        finetune: The training of the backbone.
        evaluate: The evaluation on the test split.
        export: The formats to serve.
    """

    modality: Literal["image"] = "image"
    backbone: ImageBackbone
    image: Image = Image()
    finetune: ImageFinetune = ImageFinetune()

    @model_validator(mode="after")
    def _calibrate_static_int8(self) -> ImageRecipe:
        """Refuse 8 bits without a split of samples to calibrate them on."""
        if "onnx-int8" in self.export.formats and not self.data.splits.calibration:
            raise ValueError(
                "export.formats: onnx-int8 of pictures is calibrated on samples that neither train, "
                "select nor test; set them aside: data.splits.calibration: 0.05"
            )
        return self
