"""The classic model of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.modalities.image.baseline import fit_statistics
from pipeline.modalities.image.shown import to_shown
from pipeline.modalities.image.statistics import describe_picture, describe_pictures
from tests.conftest import make_picture


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        return self.data


def encoded(picture: Image.Image, form: str = "PNG") -> Bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return Bytes(buffer.getvalue())


def test_fit_statistics_tells_what_edges_tell() -> None:
    labels = np.arange(40) % 2
    samples = [Bytes(make_picture(("bars", "plain")[label], index)) for index, label in enumerate(labels)]
    model = fit_statistics(samples[:30], labels[:30], 0)
    assert model is not None
    probabilities = model.probabilities(samples[30:])
    assert probabilities.shape == (10, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(10))
    assert np.array_equal(probabilities[:, 1] > 0.5, labels[30:] == 1)
    assert model.name.startswith("colours, edges and HOG + ")


def test_fit_statistics_gives_nothing_of_one_class_and_takes_classes_of_one_sample() -> None:
    samples = [Bytes(make_picture("bars", index)) for index in range(5)]
    assert fit_statistics(samples, np.zeros(5, np.int64), 0) is None
    model = fit_statistics(samples, np.array([0, 0, 0, 0, 2]), 0)
    assert model is not None
    assert model.probabilities(samples).shape == (5, 3)


def test_describe_picture_sees_colours_that_greys_hide() -> None:
    red, green = (Image.new("RGB", (40, 60), colour) for colour in ("#ff0000", "#008200"))
    assert red.convert("L").getpixel((0, 0)) == green.convert("L").getpixel((0, 0))
    assert not np.allclose(describe_picture(red), describe_picture(green))
    assert describe_picture(red).shape == (510,)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16"])
def test_describe_pictures_takes_every_mode_of_a_file(mode: str) -> None:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(900, 5000, (30, 20)).astype(np.uint16))
    else:
        picture = Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).convert(mode)
    found = describe_pictures([encoded(picture, "TIFF")])
    assert np.isfinite(found).all()
    assert found.std() > 0


def test_to_shown_decodes_a_large_jpeg_at_a_share_of_its_size() -> None:
    data = encoded(Image.new("RGB", (2000, 1600), "#336699"), "JPEG").read()
    assert to_shown(data).size == (2000, 1600)
    assert to_shown(data, 128).size == (500, 400)
