"""Pictures for training: each decoded once, through the code that serves them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.modalities.image.augment import augment
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.training import Batch, Readable
from pipeline.reporting.progress import track
from serving.model.errors import InputRefusedError
from serving.model.inputs.image.pixels import ImagePreprocessor
from serving.model.runtimes.machine import cpu_limit

MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class ImageExamples:
    """Decoded pictures of one split.

    Attributes:
        pixels: The pictures, uint8 of shape (samples, height, width, 3), in memory or mapped from an unlinked
            file.
        choice: The random changes that a training batch gets.
    """

    pixels: NDArray[np.uint8]
    choice: ImageAugment

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return one picture, uint8 of shape (height, width, 3)."""
        picture: NDArray[np.uint8] = self.pixels[index]
        return picture

    def lengths(self) -> None:
        """Return None: pictures are all of one size."""
        return

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the network's input ``image`` for some pictures, of shape (batch, height, width, 3).

        It is uint8; where a generator is given, the pictures are changed by chance and may be float32.
        """
        image = torch.from_numpy(self.pixels[indices]).to(device)
        return {"image": image if generator is None else augment(image, self.choice, generator)}


def decode_examples(
    samples: Sequence[Readable],
    preprocessor: ImagePreprocessor,
    scratch: Path,
    choice: ImageAugment | None = None,
) -> ImageExamples:
    """Decode pictures on all CPUs.

    Args:
        samples: The samples to decode.
        preprocessor: The preprocessor of the network's input.
        scratch: Path of a file for the pixels, which is used when they would take over a quarter of the free
            memory. It is removed when they are closed.
        choice: The random changes of a training batch; None, the default, for those of an empty section.

    Raises:
        DataError: A picture cannot be decoded; the message names it.
    """
    spec = preprocessor.spec
    pixels = _allocate((len(samples), spec.height, spec.width, 3), scratch)

    def decode(index: int) -> None:
        data = samples[index].read()
        try:
            pixels[index] = preprocessor.decode(data).array
        except InputRefusedError as refusal:
            source = getattr(samples[index], "source", f"picture {index + 1} of {len(samples)}")
            raise DataError(f"{source}: {refusal.message}") from refusal

    with ThreadPoolExecutor(cpu_limit()) as pool:
        for _ in track(
            pool.map(decode, range(len(samples))), total=len(samples), what="decode", unit="pictures"
        ):
            pass
    return ImageExamples(pixels, choice or ImageAugment())


def _allocate(shape: tuple[int, ...], scratch: Path) -> NDArray[np.uint8]:
    """Return an uninitialised array: in memory where it takes a quarter of it at most, else in a file."""
    if np.prod(shape, dtype=np.int64) <= MEMORY_SHARE * _free_memory_bytes():
        return np.empty(shape, np.uint8)
    with scratch.open("wb") as file:
        # Claim the space now: a disk that fills up under a mapping kills the process without a word.
        os.posix_fallocate(file.fileno(), 0, int(np.prod(shape, dtype=np.int64)))
    mapped = np.memmap(scratch, np.uint8, "r+", shape=shape)
    scratch.unlink()  # the mapping keeps the space until it is closed, however the process ends
    return mapped


def _free_memory_bytes() -> int:
    """Return the free memory, in bytes; 4 GiB where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 4 * 1024**3
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
