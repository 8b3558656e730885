"""Pictures for training: each decoded once, through the code that serves them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError
from pipeline.modalities.image.augmenter import Augmenter
from pipeline.modalities.image.recipe import ImageAugment
from pipeline.modalities.image.thumbnails import encode_thumbnail
from pipeline.modalities.training import Batch, Readable, Shown
from pipeline.reporting.progress import track
from serving.model.errors import InputRefusedError
from serving.model.inputs.image.colours import to_rgb
from serving.model.inputs.image.pixels import ImagePreprocessor, fit, open_picture
from serving.model.inputs.image.spec import ImageInputSpec
from serving.model.runtimes.machine import cpu_limit

MEMORY_SHARE = 0.25
MOST_ENLARGED = 1.3
PREVIEW_PX = 128


@dataclass(frozen=True)
class ImageExamples:
    """Decoded pictures of one split.

    Attributes:
        pixels: The pictures, uint8 of shape (samples, height, width, 3), in memory or mapped from an unlinked
            file.
        choice: The random changes that a training batch gets.
        larger: The same pictures with more pixels, uint8, from which crops are cut; None, the default, where
            they are cut from ``pixels``.
    """

    pixels: NDArray[np.uint8]
    choice: ImageAugment
    larger: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return one picture, uint8 of shape (height, width, 3)."""
        return np.ascontiguousarray(self.pixels[index])

    def lengths(self) -> None:
        """Return None: pictures are all of one size."""
        return

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return the network's input ``image`` for some pictures, of shape (batch, height, width, 3).

        It is uint8; where a generator is given, the pictures are changed by chance and may be float32.
        """
        if generator is None or not self.choice.changes:
            return {"image": torch.from_numpy(np.ascontiguousarray(self.pixels[indices])).to(device)}
        source = self.pixels if self.larger is None else self.larger
        return {"image": self.augmenter(np.ascontiguousarray(source[indices]), device, generator)}

    @cached_property
    def augmenter(self) -> Augmenter:
        """The random changes.

        Raises:
            GraftError: A transform cannot be used; the message names it.
        """
        return Augmenter(self.choice, (self.pixels.shape[1], self.pixels.shape[2]))

    def preview(
        self, index: int, variants: int, generator: torch.Generator
    ) -> tuple[Shown, list[Shown]] | None:
        """Return thumbnails of a picture and of variants of it; None where nothing changes by chance."""
        if not self.choice.changes:
            return None
        batch = self.batch(np.full(variants, index), "cpu", generator)["image"]
        changed = batch.round().to(torch.uint8).numpy()
        original, *others = (
            Shown(picture=encode_thumbnail(Image.fromarray(picture), PREVIEW_PX))
            for picture in (self[index], *changed)
        )
        return original, others

    def mirrored(self, axis: Literal["horizontal", "vertical"]) -> ImageExamples:
        """Return the same pictures mirrored, without a copy.

        Args:
            axis: ``horizontal`` for left to right, ``vertical`` for top to bottom.
        """
        place = 2 if axis == "horizontal" else 1
        flipped = None if self.larger is None else np.flip(self.larger, place)
        return replace(self, pixels=np.flip(self.pixels, place), larger=flipped)


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
        choice: The random changes of a training batch; None, the default, for none.

    Raises:
        DataError: A picture cannot be decoded; the message names it.
        GraftError: A transform of the random changes cannot be used; the message names it.
    """
    choice = choice or ImageAugment(level="none")
    spec = preprocessor.spec
    pixels = _allocate((len(samples), spec.height, spec.width, 3), scratch)
    larger_spec = enlarge(spec, choice)
    larger = None
    if larger_spec != spec:
        shape = (len(samples), larger_spec.height, larger_spec.width, 3)
        larger = _allocate(shape, scratch.with_name(f"{scratch.name}.larger"), pixels.nbytes)
    examples = ImageExamples(pixels, choice, larger)
    if choice.has_pipeline:
        _ = examples.augmenter  # what cannot be used is told before minutes are spent on decoding

    def decode(index: int) -> None:
        data = samples[index].read()
        try:
            # As ImagePreprocessor.decode does it, but that the file is decoded once for both sizes.
            picture = to_rgb(open_picture(data, spec), spec)
            pixels[index] = fit(picture, spec)
            if larger is not None:
                larger[index] = fit(picture, larger_spec)
        except InputRefusedError as refusal:
            source = getattr(samples[index], "source", f"picture {index + 1} of {len(samples)}")
            raise DataError(f"{source}: {refusal.message}") from refusal

    with ThreadPoolExecutor(cpu_limit()) as pool:
        for _ in track(
            pool.map(decode, range(len(samples))), total=len(samples), what="decode", unit="pictures"
        ):
            pass
    return examples


def enlarge(spec: ImageInputSpec, choice: ImageAugment) -> ImageInputSpec:
    """Return the spec of pictures from which crops are cut: the same view with up to 1.3 times the side.

    The smallest crop then has the pixels of the network's input, or half of them where crops are small.

    Args:
        spec: The spec of the network's input.
        choice: The random changes.
    """
    factor = min(MOST_ENLARGED, choice.crop_scale[0] ** -0.5)
    sides = {"height": round(spec.height * factor), "width": round(spec.width * factor)}
    return spec.model_copy(update=sides)


def _allocate(shape: tuple[int, ...], scratch: Path, taken: int = 0) -> NDArray[np.uint8]:
    """Return an uninitialised array: in memory where it takes a quarter of it at most, else in a file.

    Args:
        shape: Shape of the array.
        scratch: Path of the file, which is unlinked at once.
        taken: Number of bytes that other arrays of the same samples take; 0 by default.
    """
    if taken + np.prod(shape, dtype=np.int64) <= MEMORY_SHARE * _free_memory_bytes():
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
