"""Pictures on which a backbone is tried before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.model.inputs.image.pixels import ImagePreprocessor


def probes(preprocessor: ImagePreprocessor) -> Sequence[NDArray[np.uint8]]:
    """Return three pictures of random pixels, uint8 of the shape that the network takes.

    Args:
        preprocessor: The preprocessor of the network's input.
    """
    generator = np.random.default_rng(0)
    shape = preprocessor.blank().shape
    return [generator.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
