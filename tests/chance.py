"""The global sources of chance, which nothing of ours may draw from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_chance() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether the states of Python's, NumPy's and torch's chance are as before."""

    def states() -> tuple[object, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tobytes(),  # type: ignore[union-attr,index]  # noqa: NPY002
            torch.random.get_rng_state().numpy().tobytes(),
        )

    before = states()
    yield lambda: states() == before
