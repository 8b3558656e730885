"""What classic methods measure of a picture: its colours, edges, textures and the directions of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.modalities.image.shown import to_shown
from pipeline.modalities.training import Readable
from pipeline.reporting.progress import track
from serving.model.runtimes.machine import cpu_limit

SIDE_PX = 128
GRID = 4  # a picture is looked at in 4 x 4 parts
DIRECTIONS = 9
BINS = 16
STEEPEST = 0.5  # of Sobel's gradients, whose greatest is 1; steeper ones are rare and count as this
TEXTURES = 10  # the uniform local binary patterns of eight neighbours
LEVELS = 255
MOST_KEPT = 20_000  # pictures whose statistics stay in memory, 40 MB of them: folds describe the same again
Numbers = NDArray[np.float32]


def describe_pictures(samples: Sequence[Readable]) -> Numbers:
    """Return the statistics of pictures, float32 of shape (samples, 510), computed on all CPUs.

    Args:
        samples: The pictures' files.
    """
    with ThreadPoolExecutor(cpu_limit()) as pool:
        rows = pool.map(_describe, samples)
        return np.stack(list(track(rows, total=len(samples), what="colours, edges and HOG", unit="pictures")))


@dataclass(frozen=True)
class _Known:
    """A sample whose content hash is known, and is all that two of them are compared by.

    Attributes:
        sha256: Content hash of the sample.
        sample: The sample.
    """

    sha256: str
    sample: Readable = field(compare=False)


def _describe(sample: Readable) -> Numbers:
    """Return the statistics of a sample, which is described once where its content hash is known."""
    sha256: str = getattr(sample, "sha256", "")
    known = _Known(sha256, sample)
    return _describe_known(known) if sha256 else _describe_known.__wrapped__(known)


@lru_cache(MOST_KEPT)
def _describe_known(known: _Known) -> Numbers:
    return describe_picture(to_shown(known.sample.read(), SIDE_PX))


def describe_picture(picture: Image.Image) -> Numbers:
    """Return the statistics of a picture, float32 of shape (510,).

    They are the histogram of oriented gradients (Dalal and Triggs 2005), histograms of red, green, blue, hue,
    saturation and value, histogram, mean and spread of the edges, mean and spread of the greys, and the local
    binary patterns.

    Args:
        picture: The picture, ``RGB``.
    """
    from skimage.feature import hog, local_binary_pattern
    from skimage.filters import sobel

    small = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey: Numbers = np.asarray(small.convert("L"), np.float32) / np.float32(LEVELS)
    edges = np.asarray(sobel(grey), np.float32)
    cell = SIDE_PX // GRID
    gradients = np.asarray(hog(grey, DIRECTIONS, (cell, cell), (2, 2), feature_vector=True), np.float32)
    patterns = local_binary_pattern(np.asarray(small.convert("L")), 8, 1, "uniform")
    channels = [*_channels(small), *_channels(small.convert("HSV"))]
    return np.concatenate(
        [
            gradients,
            *(_histogram(channel, BINS, LEVELS + 1) for channel in channels),
            _histogram(np.minimum(edges, STEEPEST), BINS, STEEPEST),
            *_parts(edges),
            *_parts(grey),
            _histogram(patterns, TEXTURES, TEXTURES),
        ]
    ).astype(np.float32)


def _channels(picture: Image.Image) -> Sequence[NDArray[np.uint8]]:
    """Return the values of each channel, uint8 of shape (height, width)."""
    return [np.asarray(band) for band in picture.split()]


def _histogram(values: NDArray[np.generic], bins: int, end: float) -> NDArray[np.float64]:
    """Return the share of values in each of some bins of equal width from 0 to an end."""
    counts = np.histogram(values, bins, (0, end))[0]
    return np.asarray(counts / values.size)


def _parts(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return mean and standard deviation of each part of a picture, of shape (16,) each."""
    cell = SIDE_PX // GRID
    parts = values.reshape(GRID, cell, GRID, cell)
    return parts.mean(axis=(1, 3)).ravel(), parts.std(axis=(1, 3)).ravel()
