"""The global sources of chance, which libraries draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def chance_put_back(seed: int) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global sources of chance within the block, and put them back after.

    Args:
        seed: The seed of all three, 0 or more.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
