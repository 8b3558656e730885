"""The rounding of weights that changes their products least (GPTQ: Frantar et al., arXiv:2210.17323)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.export.int8.smoothing import LEVELS, weight_scales

DAMPING = 0.01  # of the mean of the diagonal, as in the paper
BLOCK = 128


@dataclass(frozen=True)
class Rounded:
    """A matrix in 7 bits.

    The sum of two products of 255 and 64 is 32,640, which 16 bits hold: CPUs without VNNI add such products
    in 16 bits and would overflow with 8-bit weights, so that the same file would answer otherwise there.

    Attributes:
        whole: int8 of shape (channels, outputs), within ± 64.
        scales: float32 of shape (outputs,); ``whole * scales`` is about the matrix.
    """

    whole: NDArray[np.int8]
    scales: NDArray[np.float32]


def round_weights(matrix: NDArray[np.float32], gram: NDArray[np.float64]) -> Rounded:
    """Round channel by channel, the most active first; the channels that follow make good each one's error.

    An output for which that does worse than the nearest numbers, as it may with few channels, gets those.

    Args:
        matrix: The matrix, float32 of shape (channels, outputs).
        gram: Sum of the outer products of the activation that the matrix multiplies, float64 of shape
            (channels, channels).
    """
    order = np.argsort(-np.diag(gram), kind="stable")
    scales = weight_scales(matrix)
    left = matrix[order].astype(np.float64)
    upper = _inverse_factor(gram[np.ix_(order, order)])
    whole = np.empty_like(left)
    for start in range(0, len(left), BLOCK):
        block = slice(start, start + BLOCK)
        whole[block], errors = _round_block(left[block], upper[block, block], scales)
        left[start + BLOCK :] -= upper[block, start + BLOCK :].T @ errors
    result = np.empty(whole.shape, np.int8)
    result[order] = whole
    nearest = np.clip(np.round(matrix / scales), -LEVELS, LEVELS).astype(np.int8)
    is_worse = _change(result, matrix, scales, gram) > _change(nearest, matrix, scales, gram)
    return Rounded(np.where(is_worse, nearest, result), scales)


def _change(
    whole: NDArray[np.int8],
    matrix: NDArray[np.float32],
    scales: NDArray[np.float32],
    gram: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the sum of the squared changes of each output's products, float64 of shape (outputs,)."""
    change = whole * scales.astype(np.float64) - matrix
    return np.asarray((change * (gram @ change)).sum(axis=0))


def _inverse_factor(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse of a Gram matrix, both of shape (channels, channels).

    Each row says how an error in one channel is best made good by the later ones.
    """
    damped = gram + np.eye(len(gram)) * max(DAMPING * np.diag(gram).mean(), np.finfo(np.float64).tiny)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


def _round_block(
    left: NDArray[np.float64], upper: NDArray[np.float64], scales: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round a block of channels.

    Args:
        left: Weights that are still to be rounded, float64 of shape (channels, outputs), which are
            overwritten.
        upper: The block's part of the Cholesky factor, float64 of shape (channels, channels).
        scales: One scale a column, float32 of shape (outputs,).

    Returns:
        The whole numbers of the block, and the errors that are left to the channels after it, both float64 of
        shape (channels, outputs).
    """
    whole, errors = np.empty_like(left), np.empty_like(left)
    for row in range(len(left)):
        whole[row] = np.clip(np.round(left[row] / scales), -LEVELS, LEVELS)
        errors[row] = (left[row] - whole[row] * scales) / upper[row, row]
        left[row + 1 :] -= np.outer(upper[row, row + 1 :], errors[row])
    return whole, errors
