"""Every picture decoded once, through the code that serves them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.samples import Sample
from pipeline.progress import track
from serving.inputs.image import ImageInputSpec, decode_image
from serving.runtime import cpu_limit

MEMORY_SHARE = 0.25


def decode_samples(samples: Sequence[Sample], spec: ImageInputSpec, scratch: Path) -> NDArray[np.uint8]:
    """Decode samples on all CPUs.

    Args:
        samples: What to decode.
        spec: How.
        scratch: A file for the pixels when they would take over a quarter of the free memory; removed when they are closed.

    Returns:
        uint8 of shape (samples, H, W, 3), in the samples' order: in memory, or mapped from an unlinked file.
    """
    shape = (len(samples), spec.height, spec.width, 3)
    pixels = _allocate(shape, scratch)

    def decode(index: int) -> None:
        pixels[index] = decode_image(samples[index].read(), spec)

    with ThreadPoolExecutor(cpu_limit()) as pool:
        for _ in track(pool.map(decode, range(len(samples))), total=len(samples), what="decode", unit="pictures"):
            pass
    return pixels


def _allocate(shape: tuple[int, ...], scratch: Path) -> NDArray[np.uint8]:
    if np.prod(shape, dtype=np.int64) <= MEMORY_SHARE * _free_memory_bytes():
        return np.empty(shape, np.uint8)
    with scratch.open("wb") as file:
        # Claim the space now: a disk that fills up under a mapping kills the process without a word.
        os.posix_fallocate(file.fileno(), 0, int(np.prod(shape, dtype=np.int64)))
    mapped = np.memmap(scratch, np.uint8, "r+", shape=shape)
    scratch.unlink()  # the mapping keeps the space until it is closed, however the process ends
    return mapped


def _free_memory_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 4 * 1024**3
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
