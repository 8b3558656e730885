"""Mixup and CutMix: each sample of a batch is mixed with another, and so are their targets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.modalities.training import Batch


def mix(
    batch: Batch, targets: torch.Tensor, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[Batch, torch.Tensor]:
    """Mix each sample of a batch with another one of it, by a share of its own.

    Where both ways are asked for, each is taken for about half of the batches. A batch of one sample, or of
    equal ones, stays as it is.

    Args:
        batch: The network's inputs, numbers that may be averaged. For CutMix there is one, of the shape
            (batch, height, width, channels).
        targets: Soft targets, float32 of shape (batch, classes).
        mixup: Parameter of mixup's beta distribution (arXiv:1710.09412); 0 for none.
        cutmix: The same of CutMix (arXiv:1905.04899). One of the two is above 0.
        generator: The source of chance.

    Returns:
        The inputs and targets, of the same shapes. Mixup makes the inputs float32.
    """
    # torch's beta distribution takes no generator: what draws is seeded anew by ours for each batch.
    draws = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    count = len(targets)
    partners = draws.permutation(count)
    cuts = cutmix > 0 and (mixup == 0 or draws.random() < 0.5)
    strength = cutmix if cuts else mixup
    shares = draws.beta(strength, strength, count)  # what is left of each sample
    others = torch.from_numpy(partners).to(targets.device)
    if cuts:
        ((name, pictures),) = batch.items()
        mask = boxes(shares, pictures.shape[1], pictures.shape[2], draws)
        shares = 1 - mask.mean(axis=(1, 2))
        where = torch.from_numpy(mask).to(pictures.device)[..., None]
        mixed = {name: torch.where(where, pictures[others], pictures)}
    else:
        mixed = {name: _average(values, others, shares) for name, values in batch.items()}
    return mixed, _average(targets, others, shares)


def boxes(
    shares: NDArray[np.float64], height: int, width: int, draws: np.random.Generator
) -> NDArray[np.bool_]:
    """Return where each picture is covered by another: bool of shape (pictures, height, width).

    A box has the picture's proportions, its centre may be anywhere, and what lies outside is cut off.

    Args:
        shares: Share of each picture that is to be left, float64 of shape (pictures,) in [0, 1].
        height: Height of the pictures.
        width: Their width.
        draws: The source of chance.
    """
    sides = np.sqrt(1 - shares)

    def covered(size: int) -> NDArray[np.bool_]:
        """Return which rows or columns of each picture its box covers."""
        centres, places = draws.random(len(shares)) * size, np.arange(size) + 0.5
        return np.abs(places[None] - centres[:, None]) < sides[:, None] * size / 2

    return covered(height)[:, :, None] & covered(width)[:, None, :]


def _average(values: torch.Tensor, others: torch.Tensor, shares: NDArray[np.float64]) -> torch.Tensor:
    """Return each value's share of itself and the rest of its partner, in float32."""
    numbers = values.to(torch.float32)
    rest = torch.from_numpy(1 - shares).to(values.device, torch.float32)
    return torch.lerp(numbers, numbers[others], rest.reshape(-1, *[1] * (numbers.dim() - 1)))
