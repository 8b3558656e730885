"""Even out the channels of activations, so that 8 bits say more of each (SmoothQuant: Xiao et al., arXiv:2211.10438).

One scale for a whole activation is as coarse as its largest channel needs. Dividing each channel by a factor,
and multiplying its row of the weights by the same, leaves the product as it was.
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
    """The factors that leave the smallest error in the products of some real activations; None where as it is is best.

    Args:
        activation: What is divided by them.
        matrix: All matrices that it is multiplied by, side by side: float32 of shape (channels, outputs).

    Returns:
        float32 of shape (channels,), with a geometric mean of 1.
    """
    exact = [value @ matrix for value in activation.examples]

    def error(factors: NDArray[np.float32] | None) -> float:
        even = np.ones(len(matrix), np.float32) if factors is None else factors
        rounded = round_to_nearest(matrix * even[:, None])
        served = (round_dynamically(value / even) @ rounded for value in activation.examples)
        return float(sum(((found - wanted) ** 2).sum() for found, wanted in zip(served, exact, strict=True)))

    return min((smoothing_factors(activation.peaks, matrix, strength) for strength in STRENGTHS), key=error)


def smoothing_factors(
    peaks: NDArray[np.float32], matrix: NDArray[np.float32], strength: float | None
) -> NDArray[np.float32] | None:
    """The factors of one strength: float32 of shape (channels,), with a geometric mean of 1; None for no strength."""
    if strength is None:
        return None
    factors = np.maximum(peaks, TINY) ** strength / np.maximum(np.abs(matrix).max(axis=1), TINY) ** (
        1 - strength
    )
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)


def weight_scales(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """One scale a column, float32 of shape (outputs,)."""
    return np.asarray(np.maximum(np.abs(matrix).max(axis=0), TINY**2) / LEVELS, np.float32)


def round_to_nearest(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """What 7-bit weights leave of a matrix."""
    scales = weight_scales(matrix)
    return np.asarray(np.clip(np.round(matrix / scales), -LEVELS, LEVELS) * scales, np.float32)


def round_dynamically(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX's DynamicQuantizeLinear leaves of an activation: 8 bits between its least and its largest value, zero included."""
    low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
    scale = max((high - low) / 255, TINY**2)
    zero = np.round(-low / scale)
    return np.asarray((np.clip(np.round(value / scale) + zero, 0, 255) - zero) * scale, np.float32)
