from __future__ import annotations

import pytest
import torch
from timm.data import create_transform
from torchvision.transforms.functional import to_pil_image

from pipeline.errors import GraftError
from pipeline.modalities.image.augment import augment
from pipeline.modalities.image.network import Normalisation, create_network, describe_input, to_input
from pipeline.modalities.image.recipe import Image, ImageAugment

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pictures(count: int, size: int = 24) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_to_input_equals_timm_normalisation() -> None:
    pixels = pictures(3, 32)
    transform = create_transform((3, 32, 32), crop_pct=1.0, mean=IMAGENET.mean, std=IMAGENET.std)
    reference = torch.stack([transform(to_pil_image(picture.permute(2, 0, 1))) for picture in pixels])
    ours = to_input(pixels, IMAGENET)
    assert torch.allclose(ours, reference, atol=2e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_augment_flips_about_half_and_nothing_else() -> None:
    pixels = pictures(400, 8)
    flipped = augment(
        pixels, ImageAugment(horizontal_flip=True, crop_scale=(1.0, 1.0)), torch.Generator().manual_seed(0)
    )
    same = (flipped == pixels).flatten(1).all(dim=1)
    mirrored = (flipped == pixels.flip(2)).flatten(1).all(dim=1)
    assert bool((same ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250


def test_augment_changes_nothing_when_all_is_off() -> None:
    pixels = pictures(4)
    off = ImageAugment(horizontal_flip=False, vertical_flip=False, crop_scale=(1.0, 1.0))
    assert torch.equal(augment(pixels, off, torch.Generator().manual_seed(0)), pixels)


def test_augment_crops_inside_the_picture_and_keeps_the_range() -> None:
    pixels = pictures(16)
    cropped = augment(
        pixels, ImageAugment(horizontal_flip=False, crop_scale=(0.5, 0.6)), torch.Generator().manual_seed(0)
    )
    assert cropped.shape == pixels.shape
    assert cropped.dtype == torch.float32
    assert 0 <= cropped.min() < cropped.max() <= 255
    assert not torch.allclose(cropped, pixels.float())


def test_augment_repeats_itself_when_the_seed_is_the_same() -> None:
    first, second = (
        augment(pictures(8), ImageAugment(vertical_flip=True), torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "size", "crop_pct"), [("tf_efficientnet_lite0", 224, 0.875), ("test_vit", 160, 0.95)]
)
def test_describe_input_takes_timm_configuration_unless_the_recipe_says_otherwise(
    name: str, size: int, crop_pct: float
) -> None:
    model = create_network(name)
    spec, _ = describe_input(model, Image())
    assert (spec.height, spec.width, spec.crop_pct, spec.interpolation) == (size, size, crop_pct, "bicubic")
    if name == "test_vit":
        with pytest.raises(
            GraftError, match=r"image\.size: 64, but this backbone takes pictures of 160 pixels only"
        ):
            describe_input(model, Image(size=64))
        return
    spec, _ = describe_input(
        model, Image(size=64, crop_pct=1.0, interpolation="bilinear", crop_mode="squash")
    )
    assert (spec.height, spec.crop_pct, spec.interpolation, spec.crop_mode) == (64, 1.0, "bilinear", "squash")
