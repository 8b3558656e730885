from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.pixels import decode_image
from serving.model.inputs.image.spec import ImageInputSpec

SPEC = ImageInputSpec(height=32, width=32, crop_pct=0.875)


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(8, 400),
    height=st.integers(8, 400),
    crop_pct=st.sampled_from([0.875, 0.9, 0.95, 1.0]),
    size=st.sampled_from([24, 32, 56]),
)
def test_decode_image_equals_torchvision_when_resized_and_cropped(
    width: int, height: int, crop_pct: float, size: int
) -> None:
    picture = noise(width, height)
    spec = ImageInputSpec(height=size, width=size, crop_pct=crop_pct)
    reference = transforms.Compose(
        [
            transforms.Resize(int(size / crop_pct), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
        ]
    )
    assert np.array_equal(decode_image(encode(picture), spec), np.asarray(reference(picture)))


def test_decode_image_equals_timm_transform_when_real_photograph() -> None:
    from skimage import data
    from timm.data import create_transform

    photo = Image.fromarray(data.chelsea())
    spec = ImageInputSpec(height=224, width=224, crop_pct=0.875)
    theirs = create_transform(
        (3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=(0, 0, 0), std=(1, 1, 1)
    )(photo)
    ours = torch.from_numpy(decode_image(encode(photo), spec)).permute(2, 0, 1) / 255
    assert torch.equal(ours, theirs)


def test_decode_image_keeps_rgb_order_when_colours_differ() -> None:
    pixels = decode_image(encode(Image.new("RGB", (40, 40), (250, 120, 10))), SPEC)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels[16, 16].tolist() == [250, 120, 10]


def test_decode_image_squashes_when_told_to() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    spec = ImageInputSpec(height=32, width=32, crop_mode="squash", interpolation="nearest")
    assert decode_image(encode(Image.fromarray(pixels)), spec)[0, :, 0].tolist() == [0] * 16 + [255] * 16


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_decode_image_gives_rgb_when_other_mode(mode: str) -> None:
    form = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    assert decode_image(encode(noise(40, 40).convert(mode), form), SPEC).shape == (32, 32, 3)


def test_decode_image_scales_when_16_bit_grey() -> None:
    grey = np.full((40, 40), 32896, np.uint16)  # the middle of the range; clipped, it would be white
    assert decode_image(encode(Image.fromarray(grey)), SPEC)[0, 0].tolist() == [128] * 3


def test_decode_image_turns_upright_when_exif_says_so() -> None:
    picture = Image.fromarray(
        np.concatenate([np.zeros((40, 20, 3), np.uint8), np.full((40, 20, 3), 255, np.uint8)], axis=1)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    upright = decode_image(encode(picture, "PNG", exif=exif), SPEC)
    assert upright[2, 16, 0] < 10
    assert upright[-3, 16, 0] > 245


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_input"),
        (b"hello", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not_an_image"),
        (encode(noise(60, 60))[:-2000], "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_an_image"),
    ],
)
def test_decode_image_refuses_when_not_a_readable_picture(data: bytes, code: str) -> None:
    with pytest.raises(InputRefusedError) as refused:
        decode_image(data, SPEC)
    assert refused.value.code == code
    assert refused.value.status == 400


def test_decode_image_refuses_before_decoding_when_too_many_pixels() -> None:
    with pytest.raises(InputRefusedError) as refused:
        decode_image(encode(noise(100, 100)), SPEC.model_copy(update={"max_pixels": 9_999}))
    assert (refused.value.code, refused.value.status) == ("too_many_pixels", 413)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"GIF89a", b"RIFF", b"II*\0"]),
)
def test_decode_image_refuses_or_decodes_when_random_bytes(body: bytes, magic: bytes) -> None:
    with contextlib.suppress(InputRefusedError):  # any other error fails the test
        assert decode_image(magic + body, SPEC).shape == (32, 32, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    st.sampled_from(["center", "squash"]),
)  # fmt: skip
def test_grey_pictures_become_what_they_would_as_colour_ones(
    width: int, height: int, seed: int, interpolation: str, crop_mode: str
) -> None:
    """A grey picture is resized in one channel; the same picture saved in colour, in three."""
    grey = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8))
    spec = ImageInputSpec(height=24, width=20, crop_pct=0.9, interpolation=interpolation, crop_mode=crop_mode)
    np.testing.assert_array_equal(
        decode_image(_png(grey), spec), decode_image(_png(grey.convert("RGB")), spec)
    )


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
