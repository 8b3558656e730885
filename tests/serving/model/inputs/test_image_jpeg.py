"""JPEG files: simplejpeg gives the pixels of Pillow, and large ones are decoded at a share of their size."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.model.errors import InputRefusedError
from serving.model.inputs.image import jpeg_pixels
from serving.model.inputs.image.pixels import decode_image, open_picture
from serving.model.inputs.image.reading import read_picture
from serving.model.inputs.image.sizes import DENOMINATORS, reduction, resized
from serving.model.inputs.image.spec import ImageInputSpec

MOST_PIXELS = 1_000_000
FILES = 2_000


def noise(height: int, width: int, seed: int, mode: str = "RGB") -> Image.Image:
    """A picture of coarse patches and fine noise."""
    generator = np.random.default_rng(seed)
    bands = Image.new(mode, (1, 1)).getbands()
    coarse = generator.integers(0, 256, (2, 2, len(bands)), np.uint8)
    patches = [Image.fromarray(coarse[:, :, band]).resize((width, height)) for band in range(len(bands))]
    fine = generator.integers(-20, 20, (height, width, len(bands)))
    pixels = np.clip(np.dstack([np.asarray(each) for each in patches]) + fine, 0, 255).astype(np.uint8)
    merged = [Image.fromarray(pixels[:, :, band]) for band in range(len(bands))]
    return merged[0] if len(bands) == 1 else Image.merge(mode, merged)


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def files() -> Iterator[bytes]:
    """JPEG files of all kinds that Pillow writes, and some of them cut, damaged or with a tail."""
    chance = random.Random(0)
    for seed in range(FILES):
        mode = chance.choices(["RGB", "L", "CMYK"], [8, 3, 1])[0]
        keep_rgb = mode == "RGB" and chance.random() < 0.1
        subsampling = chance.choice(["4:4:4", "4:2:2", "4:2:0"]) if mode == "RGB" else -1
        options: dict[str, object] = {
            "quality": chance.choice([1, 30, 75, 90, 95, 100]),
            "subsampling": "4:4:4" if keep_rgb else subsampling,
            "progressive": chance.random() < 0.3,
            "optimize": chance.random() < 0.2,
            "restart_marker_blocks": chance.choice([0, 0, 3]),
            "keep_rgb": keep_rgb,
        }
        if chance.random() < 0.2:
            exif = Image.Exif()
            exif[0x0112] = chance.randint(0, 9)
            options["exif"] = exif
        data = encode(noise(chance.randint(1, 40), chance.randint(1, 40), seed, mode), **options)
        spoil = chance.random()
        if spoil < 0.1:
            data = data[: chance.randint(2, len(data))]
        elif spoil < 0.2:
            place = chance.randrange(2, len(data))
            data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
        elif spoil < 0.25:
            data += chance.randbytes(chance.randint(1, 40))
        yield data


def outcome(data: bytes, denominator: int) -> tuple[str, bytes]:
    """What reading gives: the pixels or the refusal. At least one row and column is always asked for."""

    def reduce(rows: int, columns: int) -> int:
        return denominator if min(rows, columns) >= denominator else 1

    try:
        image = read_picture(data, MOST_PIXELS, reduce).image
    except InputRefusedError as refusal:
        return refusal.code, b""
    return f"{image.mode} {image.size}", image.tobytes()


def test_simplejpeg_gives_the_pixels_and_the_refusals_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [(data, (1, 1, *DENOMINATORS)[index % 5]) for index, data in enumerate(files())]
    fast = [outcome(*case) for case in cases]
    used = sum(_is_taken(data) for data, _ in cases)
    monkeypatch.setattr(jpeg_pixels, "_load_simplejpeg", lambda: None)
    for case, found in zip(cases, fast, strict=True):
        assert outcome(*case) == found
    assert used > FILES / 2  # most are not left to Pillow
    assert sum(not pixels for _, pixels in fast) > FILES / 100


def _is_taken(data: bytes) -> bool:
    try:
        image = Image.open(io.BytesIO(data))
        return jpeg_pixels._decode(image, data, 1) is not None
    except Exception:
        return False


def test_a_header_of_another_size_than_the_accepted_one_is_left_to_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file must not bring simplejpeg to reserve memory for a size that was never looked at."""
    data = encode(noise(16, 16, 0))
    image = Image.open(io.BytesIO(data))
    frame = data.index(b"\xff\xc0")
    huge = data[: frame + 5] + (65_000).to_bytes(2, "big") * 2 + data[frame + 9 :]
    monkeypatch.setattr(
        jpeg_pixels._load_simplejpeg(), "decode_jpeg", lambda *_, **__: pytest.fail("it was decoded")
    )
    assert jpeg_pixels._decode(image, huge, 1) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decoded_pixels_are_turned_as_pictures_are(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(noise(8, 14, orientation), exif=exif)
    fast = read_picture(data, MOST_PIXELS)
    assert fast.pixels is not None
    monkeypatch.setattr(jpeg_pixels, "_load_simplejpeg", lambda: None)
    np.testing.assert_array_equal(fast.pixels, np.asarray(read_picture(data, MOST_PIXELS).image))


def test_whether_a_cut_file_is_read_does_not_depend_on_the_size_that_is_asked_for() -> None:
    whole = encode(noise(64, 96, 0), progressive=True, quality=90)
    accepted = 0
    for missing in range(1, 60):
        cut = whole[:-missing]
        full, reduced = outcome(cut, 1), outcome(cut, 8)
        assert (full[0] == "not_an_image") == (reduced[0] == "not_an_image")
        accepted += full[0] != "not_an_image"
    assert 0 < accepted < 59


def test_a_file_without_its_end_is_left_to_pillow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is decoded several times to see whether its end matters, and each failure costs a decoding too."""

    def fail() -> None:
        pytest.fail("simplejpeg was tried")

    whole = encode(noise(64, 96, 0), progressive=True)
    expected = outcome(whole, 1)
    simplejpeg = jpeg_pixels._load_simplejpeg()

    class Refusing:
        decode_jpeg_header = simplejpeg.decode_jpeg_header

        @staticmethod
        def decode_jpeg(*_args: object, **_options: object) -> None:
            fail()

    monkeypatch.setattr(jpeg_pixels, "_load_simplejpeg", lambda: Refusing)
    assert outcome(whole[:-2], 1) == expected


@given(
    st.integers(1, 6_000),
    st.integers(1, 6_000),
    st.sampled_from(["center", "squash"]),
    st.floats(1, 4),
    st.floats(0.5, 1),
)
def test_a_reduced_jpeg_leaves_the_gap(height: int, width: int, mode: str, gap: float, crop: float) -> None:
    spec = ImageInputSpec(height=64, width=48, crop_mode=mode, reducing_gap=gap, crop_pct=crop)
    found = reduction(height, width, spec)
    rows, columns = resized(height, width, spec)

    def leaves_enough(denominator: int) -> bool:
        return height / denominator >= gap * rows and width / denominator >= gap * columns

    assert found == 1 or leaves_enough(found)
    assert found == 8 or not leaves_enough(2 * found)
    assert reduction(height, width, spec.model_copy(update={"reducing_gap": None})) == 1


@pytest.mark.parametrize(
    ("size", "gap", "expected"),
    [
        ((640, 480), None, (640, 480)),
        ((640, 480), 2, (640, 480)),
        ((640, 480), 1, (320, 240)),
        ((1600, 1200), 2, (800, 600)),
        ((4000, 3000), 2, (1000, 750)),
        ((4000, 3000), 1, (500, 375)),
    ],
)
def test_photographs_are_decoded_at_the_share_that_the_spec_asks_for(
    size: tuple[int, int], gap: float | None, expected: tuple[int, int]
) -> None:
    spec = ImageInputSpec(height=224, width=224, reducing_gap=gap, rules=2)
    data = encode(Image.new("RGB", size, (10, 200, 30)))
    assert open_picture(data, spec).image.size == expected
    assert decode_image(data, spec).shape == (224, 224, 3)


def test_a_sideways_photograph_is_reduced_as_the_upright_one_is() -> None:
    spec = ImageInputSpec(height=100, width=20, crop_mode="squash", reducing_gap=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = encode(Image.new("RGB", (800, 160)), exif=exif)
    upright = encode(Image.new("RGB", (160, 800)))
    assert open_picture(sideways, spec).image.size == open_picture(upright, spec).image.size == (20, 100)


def test_other_formats_are_decoded_in_full() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (800, 800)).save(buffer, "PNG")
    spec = ImageInputSpec(height=16, width=16, reducing_gap=1)
    assert open_picture(buffer.getvalue(), spec).image.size == (800, 800)


def test_a_reduced_photograph_shows_the_same() -> None:
    picture = noise(1200, 1600, 0).resize((1600, 1200))
    data = encode(picture, quality=95)
    spec = ImageInputSpec(height=224, width=224)
    full = decode_image(data, spec).astype(int)
    reduced = decode_image(data, spec.model_copy(update={"reducing_gap": 2.0})).astype(int)
    assert not np.array_equal(full, reduced)
    assert np.abs(full - reduced).mean() < 1
