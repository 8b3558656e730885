"""Metadata never decide whether a picture is read, and pixels that are cut off always do."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, TiffImagePlugin

from serving.model.errors import InputRefusedError
from serving.model.inputs.image import reading
from serving.model.inputs.image.jpeg import has_every_scan
from serving.model.inputs.image.pixels import decode_image, fit
from serving.model.inputs.image.resizing import RESAMPLING
from serving.model.inputs.image.sizes import resized
from serving.model.inputs.image.spec import ImageInputSpec

WIDTH, HEIGHT = 40, 24
SPEC = ImageInputSpec(height=HEIGHT, width=WIDTH, rules=2, background="#ffffff")
UPRIGHT = Image.fromarray(np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).filter(
    ImageFilter.GaussianBlur(1)
)
BROKEN_EXIF = [b"Exif\0\0", b"Exif\0\0junk", b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01" * 40]
LIBRARY_WORDS = ("Pillow", "PIL", "decoder", "not processed", "LOAD_TRUNCATED", "MAX_TEXT", "Error", "struct")


def encode(form: str, image: Image.Image = UPRIGHT, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def with_chunk(data: bytes, added: bytes) -> bytes:
    """Return a PNG with a chunk behind its header."""
    return data[:33] + added + data[33:]


def with_segment(data: bytes, added: bytes) -> bytes:
    """Return a JPEG with a segment at its beginning."""
    return data[:2] + added + data[2:]


def with_riff(data: bytes, flags: int, added: bytes) -> bytes:
    """Return a WebP with a chunk at its end, and the flags that say so."""
    canvas = struct.pack("<I", flags) + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    body = b"WEBP" + riff(b"VP8X", canvas) + data[12:] + added
    return b"RIFF" + struct.pack("<I", len(body)) + body


LARGE = zlib.compress(bytes(70_000_000))
PNG, JPEG, WEBP = encode("PNG"), encode("JPEG", quality=95), encode("WEBP", lossless=True)
SPOILT = {
    **{
        f"PNG, EXIF {n}": (PNG, with_chunk(PNG, chunk(b"eXIf", exif[6:])))
        for n, exif in enumerate(BROKEN_EXIF)
    },
    **{
        f"JPEG, EXIF {n}": (JPEG, with_segment(JPEG, segment(0xE1, exif)))
        for n, exif in enumerate(BROKEN_EXIF)
    },
    **{
        f"WebP, EXIF {n}": (WEBP, with_riff(WEBP, 8, riff(b"EXIF", exif)))
        for n, exif in enumerate(BROKEN_EXIF)
    },
    "PNG, large profile": (PNG, with_chunk(PNG, chunk(b"iCCP", b"icc\0\0" + LARGE))),
    "PNG, unknown profile": (PNG, with_chunk(PNG, chunk(b"iCCP", b"icc\0\7" + LARGE))),
    "PNG, large XMP": (
        PNG,
        with_chunk(PNG, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE)),
    ),
    "PNG, large text": (PNG, with_chunk(PNG, chunk(b"zTXt", b"Comment\0\0" + LARGE))),
    "PNG, large text at the end": (PNG, PNG[:-12] + chunk(b"zTXt", b"Comment\0\0" + LARGE) + PNG[-12:]),
    "PNG, wrong checksum": (PNG, with_chunk(PNG, chunk(b"tEXt", b"a\0b")[:-1] + b"\x07")),
    "PNG, short gamma": (PNG, with_chunk(PNG, chunk(b"gAMA", b"\0"))),
    "PNG, no end": (PNG, PNG[:-12]),
    "PNG, cut in its text": (PNG, PNG[:-12] + chunk(b"tEXt", b"a\0" + b"b" * 100)[:50]),
    "JPEG, short profile": (JPEG, with_segment(JPEG, segment(0xE2, b"ICC_PROFILE\0"))),
    "JPEG, large profile": (
        JPEG,
        with_segment(
            JPEG,
            b"".join(
                segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 200)) + b"x" * 65_000) for n in range(1, 201)
            ),
        ),
    ),
    "JPEG, large XMP": (
        JPEG,
        with_segment(JPEG, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 65_000) * 100),
    ),
    "JPEG, short Adobe": (JPEG, with_segment(JPEG, segment(0xEE, b"Adobe"))),
    "JPEG, short JFIF": (JPEG, with_segment(JPEG, segment(0xE0, b"JFIF"))),
    "JPEG, no end": (JPEG, JPEG[:-2]),
    "JPEG, half an end": (JPEG, JPEG[:-1]),
    "JPEG, no end and a short profile": (
        JPEG,
        with_segment(JPEG, segment(0xE2, b"ICC_PROFILE\0"))[:-2],
    ),
    "WebP, cut in its EXIF": (WEBP, with_riff(WEBP, 8, riff(b"EXIF", b"Exif\0\0" + b"x" * 100))[:-60]),
    "WebP, cut in its XMP": (WEBP, with_riff(WEBP, 4, riff(b"XMP ", b"x" * 100))[:-101]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_decode_image_gives_the_same_pixels_when_metadata_are_broken_or_cut(name: str) -> None:
    whole, spoilt = SPOILT[name]
    assert spoilt != whole
    np.testing.assert_array_equal(decode_image(spoilt, SPEC), decode_image(whole, SPEC))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decode_image_turns_upright_when_other_metadata_are_broken(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = UPRIGHT.transpose(Image.Transpose.ROTATE_90)
    whole = encode(kind, turned, exif=exif)
    spoilt = (
        with_chunk(whole, chunk(b"iCCP", b"icc\0\7"))
        if kind == "PNG"
        else with_segment(whole, segment(0xE2, b"ICC_PROFILE\0"))
    )
    shown = decode_image(spoilt, SPEC)
    np.testing.assert_array_equal(shown, decode_image(whole, SPEC))
    error, of_upside_down = (
        np.abs(shown.astype(int) - np.asarray(other)).mean()
        for other in (UPRIGHT, UPRIGHT.transpose(Image.Transpose.ROTATE_180))
    )
    assert error < of_upside_down / 2


def test_decode_image_reads_a_tiff_when_a_directory_of_its_metadata_is_broken() -> None:
    for target in (0, 3, 8, 1000, 2**32 - 1):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x8769] = target
        tags.tagtype[0x8769] = 4
        spoilt = encode("TIFF", tiffinfo=tags)
        assert struct.pack("<HHLL", 0x8769, 4, 1, target) in spoilt
        np.testing.assert_array_equal(decode_image(spoilt, SPEC), np.asarray(UPRIGHT))


CUT = {
    "PNG": PNG,
    "PNG, interlaced palette": encode("PNG", UPRIGHT.quantize(16)),
    "JPEG": JPEG,
    "JPEG, grey": encode("JPEG", UPRIGHT.convert("L"), quality=90),
    "JPEG, finest": encode("JPEG", quality=100, subsampling=0),
    "JPEG, progressive": encode("JPEG", quality=90, progressive=True),
    "JPEG, restarts": encode("JPEG", quality=90, restart_marker_blocks=2),
    "JPEG, of one colour": encode("JPEG", Image.new("RGB", (WIDTH, HEIGHT), "teal"), quality=95),
    "JPEG, half of one colour": encode("JPEG", Image.new("L", (WIDTH, HEIGHT), 255), quality=100),
    "WebP": WEBP,
    "WebP, lossy": encode("WEBP", quality=80),
    "GIF": encode("GIF", UPRIGHT.quantize(16)),
    "TIFF": encode("TIFF"),
    "TIFF, deflated": encode("TIFF", compression="tiff_adobe_deflate"),
    "BMP": encode("BMP"),
}


@pytest.mark.parametrize("name", CUT)
def test_decode_image_shows_the_whole_picture_or_refuses_it_when_the_file_is_cut(name: str) -> None:
    """At whatever byte the file ends, what is shown is what the whole file shows."""
    whole = CUT[name]
    expected = decode_image(whole, SPEC).astype(int)
    shown, refusals = 0, set()
    for end in range(1, len(whole)):
        try:
            difference = np.abs(decode_image(whole[:end], SPEC) - expected).max()
        except InputRefusedError as refusal:
            refusals.add(refusal.message)
            continue
        shown += 1
        assert difference <= 1, f"{end} of {len(whole)} bytes"
    assert not any(word in message for word in LIBRARY_WORDS for message in refusals), refusals
    assert shown >= (2 if name.startswith("JPEG") else 0)


def test_decode_image_refuses_a_cut_jpeg_of_many_scans_without_decoding_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = CUT["JPEG, progressive"]
    last = whole[whole.rindex(b"\xff\xda") : -2]
    decoded: list[bytes] = []
    decode = reading._decode

    def counting(data: bytes, decoding: object) -> object:
        decoded.append(data)
        return decode(data, decoding)

    monkeypatch.setattr(reading, "_decode", counting)
    with pytest.raises(InputRefusedError, match="truncated"):
        decode_image(whole[:-2] + last * 20, SPEC)
    assert len(decoded) == 1


def test_has_every_scan_counts_the_scans_of_a_progressive_jpeg() -> None:
    data = CUT["JPEG, progressive"]
    ends = list(_places(data, b"\xff\xda"))
    assert len(ends) > 5
    assert has_every_scan(data)
    assert not any(has_every_scan(data[:end]) for end in ends[1:])


def _places(data: bytes, wanted: bytes) -> Iterator[int]:
    place = data.find(wanted)
    while place >= 0:
        yield place
        place = data.find(wanted, place + 1)


def old_fit(image: Image.Image, spec: ImageInputSpec) -> np.ndarray:
    """Resize the whole picture and crop, which is how every accepted picture was fitted before."""
    height, width = resized(image.height, image.width, spec)
    if (image.height, image.width) != (height, width):
        image = image.resize((width, height), RESAMPLING[spec.interpolation])
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    return np.asarray(image.convert("RGB"))[top : top + spec.height, left : left + spec.width]


shapes = st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
fits = st.builds(
    ImageInputSpec,
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    crop_pct=st.sampled_from([0.5, 0.875, 1.0]),
    crop_mode=st.sampled_from(["center", "squash"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)


def picture_of(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@settings(max_examples=100, deadline=None)
@given(shapes, fits)
def test_fit_gives_the_pixels_of_resizing_the_whole_picture(
    shape: tuple[int, int, int], spec: ImageInputSpec
) -> None:
    picture = picture_of(*shape)
    np.testing.assert_array_equal(fit(picture, spec), old_fit(picture, spec))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(200, 900), st.booleans(), st.integers(0, 2**32 - 1), fits)
def test_fit_crops_before_it_resizes_when_the_whole_would_be_too_large(
    narrow: int, long: int, upright: bool, seed: int, spec: ImageInputSpec
) -> None:
    # The library resizes rows or columns first, whichever is cheaper, and brings what is between the two to 8
    # bits: of values from which no filter leaves the range, either order rounds by one level at most.
    noisy = picture_of(*((narrow, long) if upright else (long, narrow)), seed)
    picture = noisy.point(lambda value: 100 + value // 5)
    cropped = fit(picture, spec.model_copy(update={"max_pixels": 1}))
    if spec.interpolation == "nearest":  # a place between two pixels may take either
        source, moves = np.asarray(picture), [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
        allowed = [Image.fromarray(np.roll(source, move, axis=(0, 1))) for move in moves]
    else:
        allowed = [picture]
    differences = [np.abs(cropped.astype(int) - old_fit(other, spec)).max(axis=2) for other in allowed]
    assert np.min(differences, axis=0).max() <= (0 if spec.interpolation == "nearest" else 2)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 2_400), (2_400, 2)])
def test_decode_image_takes_a_strip_of_any_shape(size: tuple[int, int]) -> None:
    strip = Image.new("RGB", size, (200, 10, 60))
    spec = ImageInputSpec(height=224, width=224, crop_pct=0.875)
    assert (decode_image(encode("PNG", strip), spec) == (200, 10, 60)).all()


def test_decode_image_takes_more_pixels_than_the_library_when_the_spec_allows_them() -> None:
    huge = Image.new("1", (18_000, 10_000), 1)
    assert huge.width * huge.height > 2 * (Image.MAX_IMAGE_PIXELS or 0)
    spec = SPEC.model_copy(update={"max_pixels": 200_000_000, "interpolation": "nearest"})
    assert (decode_image(encode("PNG", huge), spec) == 255).all()
