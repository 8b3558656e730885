"""Modules of torch for what Keras's layers compute and torch's own do not, channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional


class Padding(nn.Module):
    """Padding before a window whose layer itself pads nothing.

    Args:
        kernel: Height and width that the window covers.
        stride: Its steps down and across.
        value: What is put around the picture; 0 by default.
    """

    def __init__(self, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.stride, self.value = tuple(kernel), tuple(stride), value

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pad so that there are as many windows as steps fit into the picture, one more pixel at its end."""
        pads: list[int] = []
        for axis in (1, 0):  # torch begins with the last axis
            size, kernel, stride = pictures.shape[2 + axis], self.kernel[axis], self.stride[axis]
            windows = -(-size // stride)
            total = max((windows - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.pad(pictures, pads, value=self.value) if any(pads) else pictures


class EvenPadding(nn.Module):
    """The padding of ``keras.applications`` before steps of two: one pixel less where the size is even.

    Args:
        pixels: Number of pixels at the end of each axis.
    """

    def __init__(self, pixels: Sequence[int]) -> None:
        super().__init__()
        self.pixels = tuple(pixels)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pad a batch."""
        height, width = pictures.shape[2:]
        down, across = self.pixels
        pads = [across - 1 + width % 2, across, down - 1 + height % 2, down]
        return functional.pad(pictures, pads)


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of maps."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalise a batch."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    """A factor for each channel, which is learnt.

    Args:
        gamma: The factors, float32 of shape (channels,).
    """

    def __init__(self, gamma: NDArray[np.float32]) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.from_numpy(gamma.copy())[:, None, None])

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Scale a batch."""
        return maps * self.gamma


class Pool(nn.Module):
    """The mean over all places of maps.

    Args:
        keepdims: Whether the two axes stay, with a length of 1.
    """

    def __init__(self, *, keepdims: bool) -> None:
        super().__init__()
        self.keepdims = keepdims

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool a batch."""
        return maps.mean((2, 3), keepdim=self.keepdims)


class Combine(nn.Module):
    """Several maps made one.

    Args:
        combine: From the maps, or from maps and a number, to the result.
    """

    def __init__(self, combine: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.combine = combine

    def forward(self, *values: torch.Tensor | float) -> torch.Tensor:
        """Combine a batch."""
        return self.combine(*values)
