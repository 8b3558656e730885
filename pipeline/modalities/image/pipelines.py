"""Pipelines of torchvision.transforms.v2 and of Albumentations, which change one picture at a time.

Both libraries keep a source of chance of their own, which is seeded anew for each batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import yaml
from pydantic import JsonValue

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.machine.extras import require
from pipeline.modalities.image.augment_recipe import ImageAugment
from pipeline.modalities.image.transforms import Transforms

KEY = "finetune.augment"
ALBUMENTATIONS_KEY = f"{KEY}.albumentations"
# They read more than the picture itself, or give back something that is no uint8 picture.
IMPURE = frozenset(
    {
        "AtLeastOneBBoxRandomCrop",
        "BBoxSafeRandomCrop",
        "ConstrainedCoarseDropout",
        "CropNonEmptyMaskIfExists",
        "FDA",
        "FromFloat",
        "HistogramMatching",
        "Lambda",
        "MaskDropout",
        "Mosaic",
        "Normalize",
        "OverlayElements",
        "PixelDistributionAdaptation",
        "RandomCropNearBBox",
        "RandomSizedBBoxSafeCrop",
        "ReplayCompose",
        "TemplateTransform",
        "TextImage",
        "ToFloat",
        "ToTensor3D",
        "ToTensorV2",
    }
)


class Pipeline(Protocol):
    """A change of pictures, one after the other."""

    def __call__(self, pixels: torch.Tensor, seed: int) -> list[torch.Tensor]:
        """Return the changed pictures, each uint8 of shape (height, width, 3).

        Args:
            pixels: Pictures, uint8 of shape (batch, height, width, 3), on the CPU.
            seed: Seed of the batch: the same seed gives the same changes.
        """
        ...


def create_pipelines(choice: ImageAugment) -> list[Pipeline]:
    """Return the pipelines that a recipe asks for, in their order.

    Raises:
        GraftError: A transform refuses its arguments, or the file of Albumentations cannot be used.
    """
    return list(_pipelines_of(choice))


def _pipelines_of(choice: ImageAugment) -> Iterator[Pipeline]:
    if choice.rand_augment:
        arguments: dict[str, JsonValue] = {
            "num_ops": choice.rand_augment,
            "magnitude": choice.rand_augment_magnitude,
            "interpolation": "bilinear",
            "fill": [128, 128, 128],  # nothing is as far from the colours of pictures as torchvision's black
        }
        yield TorchvisionPipeline(({"RandAugment": arguments},))
    if choice.transforms:
        yield TorchvisionPipeline(choice.transforms)
    if choice.albumentations:
        yield AlbumentationsPipeline(choice.albumentations)


class TorchvisionPipeline:
    """Transforms of torchvision.transforms.v2, one after the other.

    Args:
        transforms: The transforms, in the form of
            :func:`~pipeline.modalities.image.transforms.name_transforms`.

    Raises:
        GraftError: A transform refuses its arguments.
    """

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = [_create(item) for item in transforms]

    def __call__(self, pixels: torch.Tensor, seed: int) -> list[torch.Tensor]:
        """Return the changed pictures; the state of torch's own generator is put back."""
        changed = []
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for picture in pixels:
                value = picture.permute(2, 0, 1)
                for transform in self.transforms:
                    value = transform(value)
                changed.append(value.permute(1, 2, 0))
        return changed


def _create(item: Mapping[str, JsonValue]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Create a transform from its name and arguments."""
    from torchvision.transforms import v2

    ((name, arguments),) = item.items()
    assert isinstance(arguments, dict)
    values: dict[str, Any] = dict(arguments)
    if "interpolation" in values:
        values["interpolation"] = v2.InterpolationMode(values["interpolation"])
    if "policy" in values:
        values["policy"] = v2.AutoAugmentPolicy(values["policy"])
    if "transforms" in values:
        values["transforms"] = [_create(inner) for inner in values["transforms"]]
    try:
        transform: Callable[[torch.Tensor], torch.Tensor] = getattr(v2, name)(**values)
    except Exception as error:  # each transform checks its arguments in its own way
        raise GraftError(f"{KEY}.transforms: {name} refuses its arguments: {error}") from error
    return transform


class AlbumentationsPipeline:
    """A pipeline of Albumentations, in the form that its ``save`` or ``to_dict`` writes.

    Args:
        place: The JSON or YAML file.

    Raises:
        GraftError: The extra is not installed, or the file is missing, no such pipeline, or one that needs
            more than the picture.
    """

    def __init__(self, place: str) -> None:
        require("albumentations")
        path = locate(place, ALBUMENTATIONS_KEY)
        document = _read_document(path)
        for name in _names_in(document["transform"]):
            if name.rpartition(".")[2] in IMPURE:
                raise GraftError(
                    f"{ALBUMENTATIONS_KEY}: {path} has {name}, which needs more than the picture or gives "
                    "no picture of bytes. Take it out of the pipeline and save it again."
                )
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks PyPI for a newer version when it is imported
        import albumentations
        import cv2

        cv2.setNumThreads(1)  # its threads would take the CPUs of torch's
        try:
            self.pipeline = albumentations.Compose([albumentations.from_dict(document)])
        except Exception as error:  # each transform checks its arguments in its own way
            raise GraftError(
                f"{ALBUMENTATIONS_KEY}: {path} is no pipeline of Albumentations "
                f"{albumentations.__version__} ({type(error).__name__}: {error})."
            ) from error

    def __call__(self, pixels: torch.Tensor, seed: int) -> list[torch.Tensor]:
        """Return the changed pictures."""
        self.pipeline.set_random_seed(seed)
        changed = [self.pipeline(image=picture)["image"] for picture in pixels.numpy()]
        return [torch.from_numpy(np.ascontiguousarray(picture)) for picture in changed]


def _read_document(path: Path) -> dict[str, JsonValue]:
    """Read a saved pipeline, JSON or YAML."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise GraftError(f"{ALBUMENTATIONS_KEY}: {path} cannot be read as JSON or YAML ({error}).") from error
    if not isinstance(document, dict) or not isinstance(document.get("transform"), dict):
        raise GraftError(
            f"{ALBUMENTATIONS_KEY}: {path} is no saved pipeline. "
            "Write it with albumentations.save(PIPELINE, FILE)."
        )
    return document


def _names_in(value: JsonValue) -> Iterator[str]:
    """Yield the names of all transforms in a saved pipeline."""
    if isinstance(value, dict):
        name = value.get("__class_fullname__")
        if isinstance(name, str):
            yield name
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)
