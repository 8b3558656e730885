"""The states of the global sources of chance, which dropout and some libraries draw from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def chance_state() -> dict[str, Any]:
    """Return the states of torch's, NumPy's and Python's global sources, as JSON values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the global one is meant
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
        "numpy": [name, np.asarray(keys), position, has_gauss, cached],
        "python": [version, list(words), gauss],
    }


def restore_chance(state: Mapping[str, Any]) -> None:
    """Go on from the states that :func:`chance_state` returned."""
    version, words, gauss = state["python"]
    name, keys, position, has_gauss, cached = state["numpy"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state((name, keys, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
