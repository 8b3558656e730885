"""Position embeddings for pictures of another size, where timm has no conversion of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed, resample_abs_pos_embed_nhwc

Tensors = Mapping[str, torch.Tensor]
MOST_TOKENS = 2
"""Most tokens that stand before those of the grid, of the class and of a teacher."""


def resample_positions(wanted: Tensors, given: Tensors) -> Tensors:
    """Return tensors of which those named ``pos_embed…`` have the shape of the network's.

    Args:
        wanted: The network's tensors.
        given: The file's tensors, by the same names.

    Returns:
        The file's tensors; those of positions that are a grid, resampled bicubically.
    """
    return {
        name: _resampled(value, wanted[name].shape)
        if name in wanted and "pos_embed" in name and value.shape != wanted[name].shape
        else value
        for name, value in given.items()
    }


def _resampled(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return positions in another shape, or as they are where neither shape is that of a grid.

    Args:
        value: Positions of shape (1, tokens, channels), (1, height, width, channels) or (1, channels, height,
            width).
        shape: The shape that is wanted, of the same kind.
    """
    if value.ndim != len(shape):
        return value
    if value.ndim == 4 and value.shape[3] == shape[3]:
        return _on_grid(value, shape[1:3])
    if value.ndim == 4 and value.shape[1] == shape[1]:
        return _on_grid(value.permute(0, 2, 3, 1), shape[2:]).permute(0, 3, 1, 2)
    if value.ndim == 3 and value.shape[2] == shape[2]:
        for tokens in range(MOST_TOKENS + 1):
            old, new = (_root(count - tokens) for count in (value.shape[1], shape[1]))
            if old and new:
                sides = ([new, new], [old, old])
                made: torch.Tensor = resample_abs_pos_embed(value.float(), *sides, num_prefix_tokens=tokens)
                return made
    return value


def _on_grid(value: torch.Tensor, sides: torch.Size) -> torch.Tensor:
    """Return positions of shape (1, height, width, channels) on a grid of other sides, as float32."""
    made: torch.Tensor = resample_abs_pos_embed_nhwc(value.float(), list(sides))
    return made


def _root(count: int) -> int | None:
    """Return the side of a square grid of so many places; None where they make no square."""
    side = math.isqrt(max(count, 0))
    return side if side and side * side == count else None
