"""Schedules of the learning rate: factors of the peak, by step."""

from __future__ import annotations

import math
from collections.abc import Callable

Factor = Callable[[int], float]


def factors(name: str, warmup: float, steps: int) -> Factor:
    """Return the factor of the learning rate at each step.

    Args:
        name: Name of the schedule, as in the recipe.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        steps: Number of steps of the whole training.
    """
    assert name == "cosine"
    return warmup_cosine(warmup, steps)


def warmup_cosine(warmup: float, steps: int) -> Factor:
    """Return the factor of the learning rate at each step.

    It rises linearly over the first share of the steps and then falls along a half cosine to 0
    (arXiv:1608.03983).

    Args:
        warmup: Share of the steps in which the rate rises, in [0, 1).
        steps: Number of steps of the whole training.
    """
    rising = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor
