"""All random changes that a recipe asks for: those of a whole batch, and the pipelines of libraries."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import GraftError
from pipeline.modalities.image.augment import change, draw_numbers, erase
from pipeline.modalities.image.augment_recipe import ImageAugment
from pipeline.modalities.image.pipelines import KEY, Pipeline, create_pipelines

MOST_SEEDS = 2**31 - 1
# Number of pictures of the trial: of transforms with a chance of 0.1 each, 97 % are met.
TRIED = 32


class Augmenter:
    """The random changes of training pictures.

    Args:
        choice: The changes that may happen.
        size: Height and width of the network's input, in pixels, which the changed pictures have.

    Raises:
        GraftError: A pipeline cannot be made, or gives something else than pictures of that size.
    """

    def __init__(self, choice: ImageAugment, size: tuple[int, int]) -> None:
        self.choice = choice
        self.size = size
        self.pipelines = create_pipelines(choice)
        if self.pipelines:
            shape = (TRIED, *size, 3)
            self._run(torch.randint(0, 256, shape, dtype=torch.uint8, generator=_fixed()), _fixed())

    def __call__(self, pixels: NDArray[np.uint8], device: str, generator: torch.Generator) -> torch.Tensor:
        """Return changed pictures from 0 to 255, uint8 or float32 of shape (batch, *size, 3).

        Args:
            pixels: Pictures, uint8 of shape (batch, height, width, 3), which may be larger than ``size``.
            device: torch's name of the device that they go to.
            generator: The source of chance, on the CPU; as much is drawn whatever the recipe asks for.
        """
        # Pipelines draw and compute on the CPU, so that every device sees the same pictures.
        batch = torch.from_numpy(pixels).to("cpu" if self.pipelines else device)
        numbers = draw_numbers(len(batch), generator)
        seeds = torch.Generator().manual_seed(int(torch.randint(MOST_SEEDS, (1,), generator=generator)))
        batch = change(batch, self.choice, numbers, self.size)
        if self.pipelines:
            batch = self._run(batch, seeds)
        return erase(batch, self.choice, numbers).to(device)

    def _run(self, batch: torch.Tensor, seeds: torch.Generator) -> torch.Tensor:
        """Run the pipelines on a batch, from 0 to 255; uint8 of shape (batch, *size, 3)."""
        if batch.dtype != torch.uint8:
            batch = batch.round().to(torch.uint8)
        for pipeline in self.pipelines:
            pictures = self._pictures(pipeline, batch, int(torch.randint(MOST_SEEDS, (1,), generator=seeds)))
            for picture in pictures:
                self._check(picture)
            batch = torch.stack(pictures)
        return batch

    def _pictures(self, pipeline: Pipeline, batch: torch.Tensor, seed: int) -> list[torch.Tensor]:
        try:
            return pipeline(batch, seed)
        except Exception as error:  # transforms of two libraries fail in their own ways
            raise GraftError(
                f"{KEY}: a transform fails on pictures of {self.size[0]} x {self.size[1]} pixels: {error}"
            ) from error

    def _check(self, picture: torch.Tensor) -> None:
        """Refuse what the network cannot take."""
        wanted = (*self.size, 3)
        if picture.dtype != torch.uint8 or tuple(picture.shape) != wanted:
            height, width = self.size
            raise GraftError(
                f"{KEY}: the transforms give {picture.dtype} of shape {tuple(picture.shape)}, and the network"
                f" takes torch.uint8 of shape {wanted}. End with a transform to {height} x {width} pixels,"
                f" such as RandomResizedCrop: {{size: {height}}}, and leave out what changes the type."
            )


def _fixed() -> torch.Generator:
    """Return the source of chance of the trial, which is always the same."""
    return torch.Generator().manual_seed(0)
