"""Pictures as people hold them: whatever they give, the same bytes or the same pixels arrive."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from serving.model.errors import InputRefusedError
from serving.service.uploads import Upload, read_picture
from tests.conftest import make_picture

PICTURE = make_picture("bars", 7)


def make_closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    file.write_bytes(PICTURE)
    return file


def read_on(path: Path) -> BinaryIO:
    """An open file of which somebody has read some already."""
    file = path.open("rb")
    file.read(10)
    return file


@pytest.mark.parametrize(
    "give",
    [
        Path.read_bytes,
        str,
        lambda path: path,
        read_on,
        Image.open,
        lambda path: bytearray(path.read_bytes()),
        lambda path: io.BytesIO(PICTURE),
    ],
    ids=["bytes", "str", "path", "file", "PIL", "bytearray", "BytesIO"],
)
def test_read_picture_gives_the_very_bytes_where_there_are_some(path: Path, give: Any) -> None:
    assert read_picture(give(path)) == PICTURE
    upload = Upload.of(give(path))
    assert isinstance(upload, BinaryIO), "BentoML's client asserts it"
    assert upload.read() == PICTURE


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_read_picture_encodes_a_picture_that_never_was_a_file(mode: str) -> None:
    picture = Image.new("L", (9, 5), 200).convert(mode) if mode != "I;16" else Image.new("I;16", (9, 5), 200)
    again = Image.open(io.BytesIO(read_picture(picture)))
    assert again.size == (9, 5)
    if mode in {"1", "L", "RGB", "RGBA", "LA"}:
        assert again.mode == mode
        assert np.array_equal(np.asarray(again), np.asarray(picture))


def test_read_picture_keeps_the_orientation() -> None:
    picture = Image.new("RGB", (9, 5))
    picture.getexif()[0x0112] = 6
    assert Image.open(io.BytesIO(read_picture(picture))).getexif()[0x0112] == 6


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x.png", "HTTPS://example.org/x", "ftp://x/y", "data:image/png;base64,AA=="]
)
def test_read_picture_fetches_no_url(url: str) -> None:
    with pytest.raises(InputRefusedError, match="no URL is fetched"):
        read_picture(url)


@pytest.mark.parametrize(
    ("value", "message"),
    [("/nowhere/x.png", "No such file"), (7, "A int is no picture"), (io.StringIO("x"), "StringIO")],
)
def test_read_picture_says_what_it_cannot_read(value: object, message: str) -> None:
    with pytest.raises(InputRefusedError, match=message):
        read_picture(value)
