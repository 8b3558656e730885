"""Pictures in files of boxes: AVIF and HEIC."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.modalities.image.modality import takes
from serving.model.errors import InputRefusedError
from serving.model.inputs.image import heic
from serving.model.inputs.image.boxes import is_avif, is_heic, without_metadata
from serving.model.inputs.image.pixels import decode_image
from serving.model.inputs.image.reading import read_picture
from serving.model.inputs.image.spec import ImageInputSpec

SPEC = ImageInputSpec(height=24, width=40, rules=2)
# 40 x 24 pixels, red at the top left and green at the bottom right, with a title in EXIF (pillow-heif 1.8.1).
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB4QABAAAAAAAAAIQAAgAAAAACZQABAAAAAAAAACwAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVo"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAA"
    "AwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAA"
    "AABAAAAAQAAAAChjbGFwAAAAKAAAAAEAAAAYAAAAAf///+gAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEA"
    "AAAAAAAAAQABBYECAwWEAAAAGmlyZWYAAAAAAAAADmNkc2MAAgABAAEAAAC4bWRhdAAAAIAoAa8TIeSYEeUw+/zZPsZPqybB"
    "8Rf7Ri+rVzumJFX6Kj4I3PqLxI+WL2nn3W7f6I7ZexUcFKqf6fLq/67AN29yWq84Yf9ns5iNR2g4zoWkg09A7jNj0y782bZ0"
    "bVRdHcIWT/Z/IvytQ5hfQNzIBT3jeTdbQNKgJbiP+P3POmyC3AAAAAZFeGlmAABNTQAqAAAACAABAQ4AAgAAAAgAAAAaAAAA"
    "AGEgdGl0bGUA"
)


def colours(height: int = 24, width: int = 40) -> np.ndarray:
    """The picture in ``HEIC``, before it was compressed."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 30, 30)
    pixels[height // 2 :, width // 2 :] = (20, 200, 60)
    return pixels


def avif(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "AVIF", **options)
    return buffer.getvalue()


def test_avif_is_decoded() -> None:
    data = avif(colours(), quality=95)
    assert is_avif(data)
    assert not is_heic(data)
    assert np.abs(decode_image(data, SPEC).astype(int) - colours()).mean() < 3


def test_avif_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = read_picture(avif(colours(), exif=exif), 10_000).image
    assert upright.size == (24, 40)
    red, _, _ = upright.getpixel((20, 5))  # the top left of the file is the top right of the picture
    assert red > 200


def test_transparent_avif_is_laid_over_the_background() -> None:
    transparent = np.dstack([colours(), np.zeros((24, 40), np.uint8)])
    white = decode_image(avif(transparent), SPEC.model_copy(update={"background": "#ffffff"}))
    assert (white == 255).all()


def test_heic_is_decoded() -> None:
    assert is_heic(HEIC)
    assert not is_avif(HEIC)
    assert np.abs(decode_image(HEIC, SPEC).astype(int) - colours()).mean() < 6


def test_heic_is_refused_with_the_remedy_where_its_package_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heic, "_load_library", lambda: None)
    with pytest.raises(InputRefusedError, match=r"graft-ml\[heic\]") as refusal:
        decode_image(HEIC, SPEC)
    assert refusal.value.code == "not_an_image"


@pytest.mark.parametrize("data", [HEIC, avif(colours())], ids=["HEIC", "AVIF"])
def test_damaged_and_large_files_are_refused(data: bytes) -> None:
    for end in range(12, len(data) - 1, 97):
        with pytest.raises(InputRefusedError) as refusal:
            read_picture(data[:end], 10_000)
        assert refusal.value.code == "not_an_image"
    with pytest.raises(InputRefusedError, match="40 x 24 pixels") as refusal:
        read_picture(data, 959)
    assert refusal.value.code == "too_many_pixels"


def test_broken_metadata_do_not_decide_whether_a_picture_is_read() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a title"
    data = avif(colours(), exif=exif)
    title = data.index(b"a title")
    header = data.rindex(b"MM", 0, title) if b"MM" in data[:title] else data.rindex(b"II", 0, title)
    broken = data[:header] + b"QQ" + data[header + 2 :]
    np.testing.assert_array_equal(decode_image(broken, SPEC), decode_image(data, SPEC))


def test_metadata_of_a_heic_that_are_no_text_do_not_end_the_process() -> None:
    """The classes of pi-heif 1.4.0 read them, and end it with a fault of memory."""
    entry = HEIC.index(b"infe", HEIC.index(b"infe") + 4)
    place = HEIC.index(b"Exif", entry)
    spoilt = HEIC[:place] + b"\xccxif" + HEIC[place + 4 :]
    script = (
        "import sys; from serving.model.inputs.image.reading import read_picture;"
        "print(read_picture(sys.stdin.buffer.read(), 1000).image.size)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=spoilt, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"(40, 24)"), done.stderr


def test_without_metadata_leaves_what_has_none() -> None:
    for data in (b"", HEIC[:20], b"\0" * 40, avif(colours())):
        assert without_metadata(data) == data


@pytest.mark.parametrize(
    ("brand", "further", "expected"),
    [
        (b"mif1", b"mif1avif", "avif"),
        (b"mif1", b"mif1heic", "heic"),
        (b"msf1", b"hevc", "heic"),
        (b"avif", b"mif1", "avif"),
        (b"isom", b"mp41", None),  # a film
    ],
)
def test_brands_tell_avif_heic_and_films_apart(brand: bytes, further: bytes, expected: str | None) -> None:
    length = 16 + len(further)
    data = length.to_bytes(4, "big") + b"ftyp" + brand + bytes(4) + further
    assert (is_avif(data), is_heic(data)) == (expected == "avif", expected == "heic")
    assert takes(".bin", lambda: data) is (expected is not None)
