"""Channels of activations, evened out so that 8 bits say more of each.

This is SmoothQuant (Xiao et al., arXiv:2211.10438). One scale for a whole activation is as coarse as its
largest channel needs. Dividing each channel by a factor, and multiplying its row of the weights by the same,
leaves the product as it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.export.int8.activations import Activation

# How much of the spread over channels moves into the weights (the paper's alpha); None: nothing does.
STRENGTHS = (None, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
TINY = 1e-5
LEVELS = 64  # weights are rounded to whole numbers up to this; see gptq


def choose_factors(activation: Activation, matrix: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Choose the factors that leave the smallest error in the products of some real activations.

    Args:
        activation: The activation that is divided by the factors.
        matrix: All matrices that it is multiplied by, side by side: float32 of shape (channels, outputs).

    Returns:
        The factors, float32 of shape (channels,), with a geometric mean of 1; None where the error is
        smallest without any.
    """
    exact = [value @ matrix for value in activation.examples]

    def error(factors: NDArray[np.float32] | None) -> float:
        divisors = np.ones(len(matrix), np.float32) if factors is None else factors
        rounded = round_to_nearest(matrix * divisors[:, None])
        served = (round_dynamically(value / divisors) @ rounded for value in activation.examples)
        return float(sum(((ours - wanted) ** 2).sum() for ours, wanted in zip(served, exact, strict=True)))

    return min((smoothing_factors(activation.peaks, matrix, strength) for strength in STRENGTHS), key=error)


def smoothing_factors(
    peaks: NDArray[np.float32], matrix: NDArray[np.float32], strength: float | None
) -> NDArray[np.float32] | None:
    """Compute the factors of one strength.

    Args:
        peaks: The largest magnitude of each channel, float32 of shape (channels,).
        matrix: All matrices that the activation is multiplied by, float32 of shape (channels, outputs).
        strength: How much of the spread over channels moves into the weights, in (0, 1); None for nothing.

    Returns:
        The factors, float32 of shape (channels,), with a geometric mean of 1; None for no strength.
    """
    if strength is None:
        return None
    factors = np.maximum(peaks, TINY) ** strength / np.maximum(np.abs(matrix).max(axis=1), TINY) ** (
        1 - strength
    )
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)


def weight_scales(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the scale of each column of a matrix in 7 bits, float32 of shape (outputs,)."""
    return np.asarray(np.maximum(np.abs(matrix).max(axis=0), TINY**2) / LEVELS, np.float32)


def round_to_nearest(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what 7-bit weights leave of a matrix, of the same shape."""
    scales = weight_scales(matrix)
    return np.asarray(np.clip(np.round(matrix / scales), -LEVELS, LEVELS) * scales, np.float32)


def round_dynamically(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what ONNX's DynamicQuantizeLinear leaves of an activation, of the same shape.

    Its 8 bits lie between the least and the largest value, zero included.
    """
    low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
    scale = max((high - low) / 255, TINY**2)
    zero = np.round(-low / scale)
    return np.asarray((np.clip(np.round(value / scale) + zero, 0, 255) - zero) * scale, np.float32)
