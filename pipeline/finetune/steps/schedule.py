"""Schedules of the learning rate: what share of its peak a step takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pipeline.finetune.plan import Rates

log = logging.getLogger("graft")
Factor = Callable[[int], float]
# What one-cycle starts from, and the momenta that it moves between: those of torch's OneCycleLR.
FIRST_SHARE = 1 / 25
MOMENTUM_AT_ENDS, MOMENTUM_AT_PEAK = 0.95, 0.85
# The share of the rate that is left after each fall of ``step``, and of ``plateau``.
STEP_SHARE, PLATEAU_SHARE = 0.1, 1 / 3
# Share of all epochs, one epoch at least, that ``plateau`` waits for an improvement.
PLATEAU_WAIT = 0.1


@dataclass(frozen=True)
class Shape:
    """The form of a schedule.

    Attributes:
        falling: The share of the peak after warm-up, from the progress of the steps after it, in [0, 1].
        cycles: Whether the rate rises along a half cosine, and momentum falls while the rate rises.
    """

    falling: Callable[[float], float]
    cycles: bool = False


def _half_cosine(progress: float) -> float:
    """Return what falls from 1 to 0 along a half cosine (arXiv:1608.03983)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SHAPES: Mapping[str, Shape] = {
    "cosine": Shape(_half_cosine),
    "linear": Shape(lambda progress: 1 - progress),
    "one-cycle": Shape(_half_cosine, cycles=True),  # arXiv:1708.07120
    "step": Shape(lambda progress: STEP_SHARE ** ((progress >= 0.5) + (progress >= 0.75))),
    "plateau": Shape(lambda _progress: 1.0),
    "constant": Shape(lambda _progress: 1.0),
}
"""The schedules by their names in the recipe."""


def factors(name: str, warmup: float, steps: int) -> Factor:
    """Return the function from a step's number, from 0, to the share of the peak rate, in [0, 1].

    Args:
        name: Name of the schedule, as in the recipe; what ``plateau`` does after epochs is not in it.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        steps: Number of steps of the whole training.
    """
    shape, rising = SHAPES[name], int(warmup * steps)

    def factor(step: int) -> float:
        if step >= rising:
            return shape.falling(min(1.0, (step - rising) / max(1, steps - rising)))
        if shape.cycles:
            return 1 - (1 - FIRST_SHARE) * _half_cosine(step / rising)
        return (step + 1) / (rising + 1)

    return factor


class Schedule:
    """The learning rate of every group of an optimiser, each a fixed multiple of the others, by step.

    It is our own, since torch has no scheduler that goes by steps and by validation at once, and whose state
    is a few numbers.

    Args:
        optimizer: The optimiser, whose groups have their peak rates. A group that is added later gets its
            share from the next step on.
        rates: The peak rate, the schedule's name and its warm-up.
        epochs: Number of epochs of the training.
        steps: Number of steps of the whole training.
        factor: Another function from a step's number to its factor of the peak rate; None, the default, for
            that of the schedule's name.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        rates: Rates,
        epochs: int,
        steps: int,
        factor: Factor | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.name = rates.schedule
        self.factor = factor or factors(rates.schedule, rates.warmup, steps)
        self.wait = max(1, round(PLATEAU_WAIT * epochs))
        self.taken = 0
        self.scale = 1.0
        self.lowest = math.inf
        self.waited = 0
        self._apply()

    def step(self) -> None:
        """Set the rates of the next step, after the optimiser has taken one."""
        self.taken += 1
        self._apply()

    def end_epoch(self, loss: float) -> None:
        """Take note of an epoch's loss on validation, after which ``plateau`` may lower the rates.

        Args:
            loss: The loss after calibration, in nats.
        """
        if self.name != "plateau":
            return
        self.waited = 0 if loss < self.lowest else self.waited + 1
        self.lowest = min(self.lowest, loss)
        if self.waited == self.wait:
            self.waited = 0
            self.slow_down(PLATEAU_SHARE)
            log.info(
                "learning rate: lowered to %.3g of its peak, since validation has not improved", self.scale
            )

    def slow_down(self, share: float) -> None:
        """Multiply all rates from now on.

        Args:
            share: What they are multiplied by, in (0, 1].
        """
        self.scale *= share
        self._apply()

    def state(self) -> dict[str, float]:
        """Return what the rates of the next steps depend on, besides the plan."""
        return {"taken": self.taken, "scale": self.scale, "lowest": self.lowest, "waited": self.waited}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from a state that :meth:`state` returned."""
        self.taken, self.waited = int(state["taken"]), int(state["waited"])
        self.scale, self.lowest = state["scale"], state["lowest"]
        self._apply()

    def _apply(self) -> None:
        """Set the rate of each group, and its momentum where the schedule moves it."""
        share = self.factor(self.taken)
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * share * self.scale
            if SHAPES[self.name].cycles:
                momentum = MOMENTUM_AT_ENDS + (MOMENTUM_AT_PEAK - MOMENTUM_AT_ENDS) * share
                group["betas"] = (momentum, group["betas"][1])
