"""Resizing by the resizer that the spec names."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cykooz_resizer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.model.errors import BundleError
from serving.model.inputs.image import kind, resizing
from serving.model.inputs.image.pixels import ImagePreprocessor, decode_image, fit
from serving.model.inputs.image.spec import ImageInputSpec

FILTERS = ["nearest", "bilinear", "bicubic", "lanczos"]
CYKOOZ = ImageInputSpec(height=32, width=32, resizer="cykooz")


def noise(height: int, width: int, seed: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    st.sampled_from(["center", "squash"]),
    st.sampled_from(["L", "RGB"]),
    st.integers(0, 99),
)
def test_cykooz_has_the_filters_of_pillow(
    size: tuple[int, int], interpolation: str, crop_mode: str, mode: str, seed: int
) -> None:
    """They round between two passes, of which each takes another first, so that values differ by a little.

    Where a filter overshoots black or white, they cut at other places: the picture here leaves it room.
    """
    spec = CYKOOZ.model_copy(update={"interpolation": interpolation, "crop_mode": crop_mode})
    picture = noise(*size, seed, mode).point(lambda value: 64 + value // 2)
    ours = fit(picture, spec).astype(int)
    theirs = fit(picture, spec.model_copy(update={"resizer": "pillow"})).astype(int)
    assert ours.shape == theirs.shape == (32, 32, 3)
    assert np.abs(ours - theirs).max() <= 4
    assert np.abs(ours - theirs).mean() < 0.6


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_cpu_gives_the_same_pixels(
    interpolation: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = CYKOOZ.model_copy(update={"interpolation": interpolation})
    picture = noise(77, 131, 0, mode)
    expected = fit(picture, spec)
    create = cykooz_resizer.Resizer
    for extensions in ("none", "sse4_1"):

        def limited(extensions: str = extensions) -> object:
            resizer = create()
            resizer.cpu_extensions = cykooz_resizer.CpuExtensions[extensions]
            return resizer

        monkeypatch.setattr(cykooz_resizer, "Resizer", limited)
        np.testing.assert_array_equal(fit(picture, spec), expected)


def test_threads_resize_side_by_side() -> None:
    pictures = [noise(100 + seed, 120, seed) for seed in range(8)]
    alone = [fit(picture, CYKOOZ) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: fit(pictures[index % 8], CYKOOZ), range(64)))
    for index, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[index % 8])


def test_a_strip_is_resized_where_the_crop_is() -> None:
    """Grown whole, it would have a hundred million pixels."""
    strip = noise(1, 4_000, 0)
    for resizer in ("pillow", "cykooz"):
        pixels = fit(strip, ImageInputSpec(height=160, width=160, resizer=resizer))
        assert pixels.shape == (160, 160, 3)
        assert pixels.std() > 5


def test_each_resizer_gives_its_own_pixels() -> None:
    buffer = io.BytesIO()
    noise(90, 90, 0).save(buffer, "PNG")
    pillow = ImageInputSpec(height=32, width=32)
    assert pillow.resizer == "pillow"  # bundles that name none were trained with it
    assert not np.array_equal(
        decode_image(buffer.getvalue(), CYKOOZ), decode_image(buffer.getvalue(), pillow)
    )


def test_a_missing_resizer_is_told_before_there_is_a_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    monkeypatch.setattr(kind, "find_spec", lambda _: None)
    resizing._load_cykooz.cache_clear()
    for require in (
        ImagePreprocessor,
        kind.IMAGE.require_packages,
        lambda spec: kind.IMAGE.open_preprocessor(spec, tmp_path),
    ):
        with pytest.raises(BundleError, match="pip install cykooz-resizer"):
            require(CYKOOZ)
        require(ImageInputSpec(height=32, width=32))
    resizing._load_cykooz.cache_clear()
