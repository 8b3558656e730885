"""Every mode and depth with transparency, against arithmetic of the test's own: what a viewer shows."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from serving.model.errors import InputRefusedError
from serving.model.inputs.image.pixels import decode_image
from serving.model.inputs.image.spec import ImageInputSpec

SIDE = 6
WHITE, TEAL = "#ffffff", "#10807f"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its colour type
BYTES, WORDS = (arrays(kind, (SIDE, SIDE, 4)) for kind in (np.uint8, np.uint16))


def spec_of(background: str | None = WHITE, window: tuple[float, float] | None = None) -> ImageInputSpec:
    return ImageInputSpec(height=SIDE, width=SIDE, rules=2, background=background, window=window)


def over(colour: NDArray, alpha: NDArray, background: str) -> NDArray[np.float64]:
    """Lay colours in [0, 255] with alpha in [0, 1] over a background."""
    below = np.array([int(background[place : place + 2], 16) for place in (1, 3, 5)])
    alpha = np.asarray(alpha, np.float64)[..., None]
    return np.broadcast_to(colour, (*colour.shape[:2], 3)) * alpha + below * (1 - alpha)


def assert_shows(data: bytes, expected: NDArray, spec: ImageInputSpec, tolerance: int = 1) -> None:
    shown = decode_image(data, spec).astype(int)
    expected = np.broadcast_to(expected, shown.shape)
    if tolerance:
        assert np.abs(shown - np.rint(expected)).max() <= tolerance
    else:  # a value between two levels may become either
        assert np.abs(shown - expected).max() <= 0.5 + 1e-9


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(values: NDArray, colour_type: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write a PNG by hand: values of shape (height, width, channels)."""
    height, width, _ = values.shape
    if depth < 8:
        bits = (values.reshape(height, width, 1) >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    else:
        rows = values.astype(">u2" if depth == 16 else np.uint8)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


backgrounds = st.sampled_from([WHITE, TEAL, "#000000"])


@settings(max_examples=60, deadline=None)
@given(BYTES, st.sampled_from(["PNG", "TIFF", "WEBP"]), backgrounds)
def test_decode_image_shows_rgba_over_the_background(values: NDArray, form: str, background: str) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    data = encode(Image.fromarray(values), form, **options)
    expected = over(values[..., :3], values[..., 3] / 255, background)
    assert_shows(data, expected, spec_of(background))


@settings(max_examples=60, deadline=None)
@given(BYTES, st.sampled_from(["PNG", "TIFF"]), backgrounds)
def test_decode_image_shows_grey_with_alpha_over_the_background(
    values: NDArray, form: str, background: str
) -> None:
    data = encode(Image.fromarray(values[..., :2]), form)
    assert_shows(data, over(values[..., :1], values[..., 1] / 255, background), spec_of(background))


@settings(max_examples=60, deadline=None)
@given(WORDS, st.sampled_from([4, 6]))
def test_decode_image_shows_16_bit_alpha_over_white(values: NDArray, colour_type: int) -> None:
    values = values[..., : CHANNELS[colour_type]]
    data = png(values, colour_type, 16)
    chopped = over(values[..., :-1] >> 8, (values[..., -1] >> 8) / 255, WHITE)  # as libpng's viewers do
    assert_shows(data, chopped, spec_of())
    exact = over(values[..., :-1] / 257, values[..., -1] / 65535, WHITE)
    assert_shows(data, exact, spec_of(), tolerance=2)


@settings(max_examples=80, deadline=None)
@given(WORDS, st.sampled_from([1, 2, 4, 8, 16]), backgrounds)
def test_decode_image_shows_the_background_where_a_grey_is_the_key(
    values: NDArray, depth: int, background: str
) -> None:
    most = 2**depth - 1
    values = values[..., :1] & most
    key = int(values[0, 0, 0])
    data = png(values, 0, depth, (b"tRNS", struct.pack(">H", key)))
    expected = over(values * (255 / most), values[..., 0] != key, background)
    assert_shows(data, expected, spec_of(background))


@settings(max_examples=80, deadline=None)
@given(WORDS, st.sampled_from([8, 16]), st.booleans())
def test_decode_image_shows_the_background_where_a_colour_is_the_key(
    values: NDArray, depth: int, near: bool
) -> None:
    most = 2**depth - 1
    values = values[..., :3] & most
    key = values[0, 0].copy()
    if near:  # a colour that differs from the key in its last bit alone stays
        values[0, 1] = key ^ 1
    data = png(values, 2, depth, (b"tRNS", struct.pack(">HHH", *map(int, key))))
    expected = over(values * (255 / most), (values != key).any(axis=2), TEAL)
    assert_shows(data, expected, spec_of(TEAL))


@settings(max_examples=60, deadline=None)
@given(WORDS, st.sampled_from([1, 2, 4, 8]), arrays(np.uint8, (256, 3)), st.binary(min_size=1, max_size=256))
def test_decode_image_shows_a_palette_over_the_background(
    values: NDArray, depth: int, palette: NDArray, alphas: bytes
) -> None:
    colours = 2**depth
    values, alphas = values[..., :1] % colours, alphas[:colours]
    alpha = np.frombuffer(alphas.ljust(256, b"\xff"), np.uint8)
    data = png(values, 3, depth, (b"PLTE", palette[:colours].tobytes()), (b"tRNS", alphas))
    expected = over(palette[values[..., 0]], alpha[values[..., 0]] / 255, TEAL)
    assert_shows(data, expected, spec_of(TEAL))


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_decode_image_shows_the_background_where_an_index_is_transparent(form: str) -> None:
    indices = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    image = Image.frombytes("P", (SIDE, SIDE), indices.tobytes())
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    image.putpalette(palette.tobytes())
    data = encode(image, form, transparency=7)
    assert_shows(data, over(palette[indices], indices != 7, WHITE), spec_of())


@settings(max_examples=30, deadline=None)
@given(BYTES)
def test_decode_image_shows_premultiplied_colours_over_the_background(values: NDArray) -> None:
    """A TIFF whose colours are multiplied by alpha: laid over white they gain what alpha leaves."""
    alpha = values[..., 3:].astype(int)
    colours = values[..., :3].astype(int) * alpha // 255
    tiff = write_tiff(np.concatenate([colours, alpha], axis=2).astype(np.uint8), extra=(1,))
    assert_shows(tiff, colours + 255 - alpha, spec_of(), tolerance=2)  # twice rounded to 8 bits


def write_tiff(values: NDArray, *, photometric: int | None = None, extra: tuple[int, ...] = ()) -> bytes:
    """Write an uncompressed TIFF by hand: values of shape (height, width, bands)."""
    height, width, bands = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    order = "<" if values.dtype.byteorder in "<=|" else ">"
    depth = values.dtype.itemsize * 8
    if photometric is None:
        photometric = 2 if bands - len(extra) == 3 else 1
    body = values.tobytes()
    arrays_ = {258: [depth] * bands, 338: list(extra), 339: [kind] * bands}
    numbers = {
        256: [width], 257: [height], 259: [1], 262: [photometric], 273: [8], 277: [bands], 278: [height],
        279: [len(body)], 284: [1], **{tag: value for tag, value in arrays_.items() if value},
    }  # fmt: skip
    start = 8 + len(body)
    spare = start + 2 + 12 * len(numbers) + 4
    entries, tail = b"", b""
    for tag, value in sorted(numbers.items()):
        is_long = tag in (273, 279)
        packed = struct.pack(f"{order}{len(value)}{'L' if is_long else 'H'}", *value)
        if len(packed) > 4:
            place = struct.pack(f"{order}L", spare + len(tail))
            tail += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHL", tag, 4 if is_long else 3, len(value)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, start)
    return head + body + struct.pack(f"{order}H", len(numbers)) + entries + b"\0\0\0\0" + tail


DEEP = [np.dtype(name) for name in ("<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<f4", ">f4")]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(DEEP), st.integers(0, 2**32 - 1), st.integers(-300, 300), st.integers(1, 3000))
def test_decode_image_scales_deep_greys_by_the_window(
    kind: np.dtype, seed: int, low: int, width: int
) -> None:
    values = np.random.default_rng(seed).integers(-500, 4000, (SIDE, SIDE, 1)).astype(kind)
    expected = np.clip((values.astype(np.float64) - low) / width, 0, 1) * 255
    assert_shows(write_tiff(values), expected, spec_of(window=(low, low + width)), tolerance=0)


@pytest.mark.parametrize("kind", DEEP)
def test_decode_image_scales_by_the_range_of_the_type_or_asks_for_a_window(kind: np.dtype) -> None:
    values = (np.arange(SIDE * SIDE) * 900).reshape(SIDE, SIDE, 1).astype(kind)
    if kind.kind == "u":
        assert_shows(write_tiff(values), values.astype(np.float64) / 257, spec_of(), tolerance=0)
        return
    with pytest.raises(InputRefusedError, match=r"image\.window: \[low, high\]"):
        decode_image(write_tiff(values), spec_of())


def test_decode_image_takes_12_bits_for_12_bits() -> None:
    values = np.arange(0, 4096, 114, dtype=np.uint16)[: SIDE * SIDE].reshape(SIDE, SIDE)
    pairs = values.reshape(SIDE, -1, 2)
    packed = np.stack(
        [pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], axis=2
    ).astype(np.uint8)
    tiff = write_tiff(packed.reshape(SIDE, -1, 1))
    for old, new in (  # the width, and the depth
        (struct.pack("<HHLL", 256, 3, 1, SIDE * 3 // 2), struct.pack("<HHLL", 256, 3, 1, SIDE)),
        (struct.pack("<HHLL", 258, 3, 1, 8), struct.pack("<HHLL", 258, 3, 1, 12)),
    ):
        assert tiff.count(old) == 1
        tiff = tiff.replace(old, new)
    assert_shows(tiff, values[..., None] / 4095 * 255, spec_of(), tolerance=0)


def test_decode_image_turns_deep_greys_around_when_zero_is_white() -> None:
    values = (np.arange(SIDE * SIDE) * 1800).reshape(SIDE, SIDE, 1).astype("<u2")
    assert_shows(write_tiff(values, photometric=0), 255 - values / 257, spec_of())


def test_decode_image_shows_black_where_a_float_is_no_number() -> None:
    values = np.full((SIDE, SIDE, 1), 0.5, "<f4")
    values[0, :3, 0] = [np.nan, np.inf, -np.inf]
    shown = decode_image(write_tiff(values), spec_of(window=(0, 1)))
    assert shown[0, :4, 0].tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize(("bands", "extra"), [(4, (0,)), (5, (0, 0)), (5, (2, 0)), (6, (0, 0, 0))])
def test_decode_image_refuses_extra_bands_and_says_how_many(bands: int, extra: tuple[int, ...]) -> None:
    values = np.zeros((SIDE, SIDE, bands), np.uint8)
    with pytest.raises(InputRefusedError, match=f"has {bands} bands.*Save it with the bands that count"):
        decode_image(write_tiff(values, extra=extra), spec_of())


@pytest.mark.parametrize("kind", ["u1", "<u2", "<f4"])
def test_decode_image_refuses_bands_that_no_reader_knows_and_says_how_many(kind: str) -> None:
    values = np.zeros((SIDE, SIDE, 7), kind)
    with pytest.raises(InputRefusedError, match=rf"7 band\(s\) of {values.dtype.itemsize * 8} bits"):
        decode_image(write_tiff(values, photometric=1, extra=(0,) * 6), spec_of())


@settings(max_examples=30, deadline=None)
@given(BYTES, st.sampled_from(["1", "L", "RGB", "CMYK", "YCbCr"]))
def test_decode_image_is_the_same_by_both_rules_when_nothing_is_transparent(
    values: NDArray, mode: str
) -> None:
    data = encode(Image.fromarray(values[..., :3].copy()).convert(mode), "TIFF")
    old = ImageInputSpec(height=SIDE, width=SIDE)
    np.testing.assert_array_equal(decode_image(data, spec_of()), decode_image(data, old))


@settings(max_examples=30, deadline=None)
@given(BYTES)
def test_decode_image_drops_transparency_when_the_spec_names_no_rules(values: NDArray) -> None:
    old = ImageInputSpec(height=SIDE, width=SIDE)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(values), "PNG"), old), values[..., :3])


def test_decode_image_clips_deep_greys_when_the_spec_names_no_rules() -> None:
    old = ImageInputSpec(height=SIDE, width=SIDE)
    whole = np.full((SIDE, SIDE, 1), 70_000, "<i4")
    shares = np.full((SIDE, SIDE, 1), 200.7, "<f4")
    assert decode_image(write_tiff(whole), old)[0, 0].tolist() == [255] * 3
    assert decode_image(write_tiff(shares), old)[0, 0].tolist() == [200] * 3


@pytest.mark.parametrize(
    "fields",
    [{"background": WHITE}, {"window": (0, 1)}, {"rules": 2, "background": "white"},
     {"rules": 2, "window": (1, 1)}, {"rules": 2, "window": (0, float("inf"))},
     {"rules": 2, "window": (float("nan"), 1)}, {"rules": 3}],
)  # fmt: skip
def test_spec_refuses_fields_that_say_nothing(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImageInputSpec(height=1, width=1, **fields)
