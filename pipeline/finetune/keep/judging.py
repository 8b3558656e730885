"""How good a model is on validation: its loss after calibration, and how sure so few samples make that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.task import Task

# Temperatures from 0.05 to 20, evenly spaced in their logarithm: fine enough that the loss is within 0.001
# nats of the best one's.
TEMPERATURES = np.geomspace(0.05, 20.0, 121)
# What the loss of a sample is at most: probabilities below 1e-12 count as that.
MOST_NATS = -float(np.log(1e-12))
# Differences that are all alike say nothing of their spread where they are fewer.
FEW = 5


@dataclass(frozen=True)
class Judged:
    """How good a model is on validation.

    Attributes:
        loss: Mean loss in nats, at the temperature that fits best.
        losses: The loss of each sample at that temperature, float64 of shape (samples,).
        accuracy: Share of right answers, in [0, 1].
        temperature: What the logits were divided by.
    """

    loss: float
    losses: NDArray[np.float64]
    accuracy: float
    temperature: float


@dataclass(frozen=True)
class Lead:
    """By how much one model is better than another on the same samples.

    Attributes:
        nats: Mean difference of the losses; above 0 the first is better.
        standard_error: Standard error of that mean.
        quantile: How many of them the 95 % interval reaches to either side: Student's t for so few samples.
    """

    nats: float
    standard_error: float
    quantile: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.nats - self.quantile * self.standard_error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.nats + self.quantile * self.standard_error

    @property
    def is_clear(self) -> bool:
        """Whether the interval says that the first is better."""
        return self.low > 0


def judge(
    task: Task, logits: NDArray[np.floating], targets: NDArray[np.int64], smoothed_as: int | None = None
) -> Judged:
    """Judge a model by its logits on validation, at the temperature that suits it.

    What is served is calibrated, so that a model which is right but too sure, or not sure enough (as label
    smoothing makes it), is as good as one whose confidence is right. Targets are smoothed as Platt did
    (https://www.microsoft.com/en-us/research/publication/probabilities-for-sv-machines/): without a mistake
    among few samples, any temperature towards 0 would look better than the last.

    Args:
        task: The task, which turns logits into probabilities.
        logits: Logits on validation, of shape (samples, classes).
        targets: Class indices, int64 of shape (samples,).
        smoothed_as: Number of samples that the targets are smoothed for, to compare with a judgement of so
            many; None, the default, for their own.
    """
    best: tuple[float, NDArray[np.float64], float] | None = None
    for temperature in TEMPERATURES:
        losses = smoothed_losses(task.probabilities(logits, float(temperature)), targets, smoothed_as)
        loss = float(losses.mean())
        if best is None or loss < best[0]:
            best = loss, losses, float(temperature)
    assert best is not None
    right = task.answers(task.probabilities(logits)) == targets
    return Judged(loss=best[0], losses=best[1], accuracy=float(right.mean()), temperature=best[2])


def smoothed_losses(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], smoothed_as: int | None = None
) -> NDArray[np.float64]:
    """Return the cross-entropy of each sample in nats, against targets that are smoothed by 1 / (n + 2)."""
    count, classes = probabilities.shape
    logs = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None))
    share = 1 / ((smoothed_as or count) + 2)
    others = (logs.sum(axis=1) - logs[np.arange(count), targets]) / max(1, classes - 1)
    return np.asarray(-((1 - share) * logs[np.arange(count), targets] + share * others))


def least_smoothed_loss(count: int, classes: int) -> float:
    """Return the loss in nats, against targets that are smoothed by 1 / (n + 2), below which none can be.

    Args:
        count: Number of samples.
        classes: Number of classes, two at least.
    """
    share = 1 / (count + 2)
    return float(-(1 - share) * np.log(1 - share) - share * np.log(share / (classes - 1)))


def lead(first: Judged, second: Judged) -> Lead:
    """Return by how much the first model is better than the second, over the samples that both answered."""
    from scipy.stats import t as student

    differences = second.losses - first.losses
    mean, count = float(differences.mean()), len(differences)
    if count == 1:  # one sample gives no interval: any difference of losses is possible
        return Lead(mean, MOST_NATS, 1.0)
    error = float(differences.std(ddof=1)) / count**0.5
    if count < FEW:
        error = max(error, abs(mean))
    return Lead(mean, error, float(student.ppf(0.975, count - 1)))
