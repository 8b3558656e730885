"""The learning-rate finder: a short training whose rate rises exponentially, until the loss diverges.

It is Smith's range test (arXiv:1506.01186) with fastai's numbers: 100 steps from 1e-7 to 10, a smoothed
loss, and the suggestion from the longest valley.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import GraftError
from pipeline.finetune.plan import Keeping, Plan
from pipeline.finetune.start.prepared import Prepared
from pipeline.finetune.steps.chance import chance_put_back
from pipeline.finetune.steps.schedule import Schedule
from pipeline.finetune.steps.training import Training
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.reporting.progress import track

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
SMOOTHING = 0.98
# The loss has diverged when, smoothed, it is so many times the lowest.
DIVERGED = 4.0
# A valley is one if it lowers the smoothed loss by this share at least, and has so many steps.
LEAST_FALL, LEAST_VALLEY = 0.01, 5
# The smoothed loss of the first steps is that of a few batches: as many steps are passed over.
FIRST_STEPS = 10


@dataclass(frozen=True)
class Sweep:
    """A sweep of the learning rate.

    Attributes:
        rates: The rate of each step that was taken, rising.
        losses: The training loss of each step, in nats, before the step was taken.
        smoothed: The losses, smoothed exponentially without a bias to the first.
        suggested: The rate in the middle of the longest valley of the smoothed loss; None where the loss
            falls at no rate.
        steepest: The rate at which the smoothed loss falls fastest; None as above.
        diverged_at: The rate at which the loss diverged; None where it did not.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    steepest: float | None
    diverged_at: float | None


def sweep(prepared: Prepared, plan: Plan, strategy: Strategy) -> Sweep:
    """Train a copy at rising rates, and suggest one; what is trained afterwards is as if this had not been.

    Args:
        prepared: What a training starts from, which is not changed.
        plan: The plan of the training.
        strategy: The strategy, which is copied.

    Raises:
        GraftError: Nothing trains, or the loss is no number even at the lowest rate.
    """
    rates = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    losses: list[float] = []
    smoothed: list[float] = []
    diverged_at = None
    with chance_put_back(plan.seed):
        training = _begin(prepared, plan, copy.deepcopy(strategy), rates)
        steps = itertools.islice(training.losses(), STEPS)
        for rate, loss in zip(rates, track(steps, total=STEPS, what="rates", unit="steps"), strict=True):
            if not math.isfinite(loss):
                diverged_at = rate
                break
            losses.append(loss)
            smoothed.append(smoothed_last(losses, smoothed))
            if smoothed[-1] > DIVERGED * min(smoothed):
                diverged_at = rate
                break
    if not losses:
        raise GraftError(
            f"finetune: the training loss is not a number even at a learning rate of {LOWEST:g}, so that the"
            " rate is not the cause. Look for pretrained weights with values that are no numbers"
            " (backbone.weights), and train with finetune.precision: fp32."
        )
    taken = rates[: len(losses)]
    suggested, steepest = suggest(taken, smoothed)
    return Sweep(tuple(taken), tuple(losses), tuple(smoothed), suggested, steepest, diverged_at)


def _begin(prepared: Prepared, plan: Plan, strategy: Strategy, rates: Sequence[float]) -> Training:
    """Return a training whose rate goes through the given ones, with all that trains at some time.

    Raises:
        GraftError: Nothing trains.
    """
    peak = plan.rates.learning_rate
    constant = replace(plan, rates=replace(plan.rates, schedule="constant"), keeping=Keeping())
    training = Training(prepared, constant, strategy)
    if not training.groups:
        raise GraftError(
            "finetune.mode: features trains no layer step by step, and so has no learning rate to find."
            " Choose another mode."
        )

    def factor(step: int) -> float:
        return rates[min(step, len(rates) - 1)] / peak

    training.schedule = Schedule(training.optimizer, constant.rates, plan.epochs, len(rates), factor)
    return training


def smoothed_last(losses: Sequence[float], smoothed: Sequence[float]) -> float:
    """Return the smoothed value of the last loss: an exponential mean, made up for its start at 0.

    Args:
        losses: The losses so far, with the last.
        smoothed: The smoothed values of those before the last.
    """
    before = len(losses) - 1
    total = smoothed[-1] * (1 - SMOOTHING**before) if before else 0.0
    return (SMOOTHING * total + (1 - SMOOTHING) * losses[-1]) / (1 - SMOOTHING ** (before + 1))


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the rate in the longest valley of a smoothed loss, and that of its steepest fall.

    The valley is the longest run of steps, not all next to each other, whose losses fall; the suggestion is
    half of the way through it, as fastai's ``valley`` has it.

    Args:
        rates: The rates, rising.
        smoothed: The smoothed loss at each of them.

    Returns:
        The two rates; None for both where the loss falls nowhere.
    """
    first = min(FIRST_STEPS, len(smoothed) // 2)
    valley = [first + index for index in longest_fall(smoothed[first:])]
    if len(valley) < LEAST_VALLEY or smoothed[valley[-1]] > (1 - LEAST_FALL) * smoothed[valley[0]]:
        return None, None
    middle = valley[len(valley) // 2]
    slopes = np.gradient(np.asarray(smoothed), np.log(np.asarray(rates)))
    within = slice(valley[0], valley[-1] + 1)
    return rates[middle], rates[valley[0] + int(np.argmin(slopes[within]))]


def longest_fall(values: Sequence[float]) -> list[int]:
    """Return the indices of the longest falling subsequence of some values, the first of equal ones."""
    lengths, before = [1] * len(values), [-1] * len(values)
    for end, start in itertools.product(range(len(values)), repeat=2):
        if start < end and values[end] < values[start] and lengths[start] >= lengths[end]:
            lengths[end], before[end] = lengths[start] + 1, start
    index = int(np.argmax(lengths))
    fall: list[int] = []
    while index >= 0:
        fall.append(index)
        index = before[index]
    return fall[::-1]
