"""A trial of a change that turns samples into counterparts, such as mirroring: do these keep the label?

The features of a sample minus those of its counterpart hold all that tells the two apart, and nothing else:
for the counterpart they have the other sign. If a head that sees only them can tell the classes, the way
round is part of the label, even where the features themselves hardly show it: on drawn arrows that point left
and right, a small network's features are at chance, and these differences tell 9 of 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.keep.judging import Lead, judge, lead
from pipeline.finetune.start.heads import fit_head
from pipeline.tasks.task import Task

Features = NDArray[np.float32]
Targets = NDArray[np.int64]

PENALTY = 0.15
FOLDS = 5
# Number of samples of a class below which nothing is known of it.
LEAST_OF_A_CLASS = 10
# Shares of the loss of guessing: a change is harmless if the way round tells less, at the upper end of the
# interval, and harmful if it tells more, at the lower end.
HARMLESS, HARMFUL = 0.1, 0.25
# By how many nats, and standard errors, a head may prefer the samples of a class to their counterparts.
PREFERENCE_NATS, PREFERENCE_ERRORS = 0.2, 3.0
CLEAR_NATS, CLEAR_ERRORS = 1.0, 5.0


@dataclass(frozen=True)
class Tried:
    """What a trial found.

    Attributes:
        told: By how many nats a head is better than guessing that sees only what a change alters.
        guessing_loss: Loss of guessing by the classes' shares, in nats.
        preferred: Index of the class whose samples are most clearly preferred to their counterparts.
        preference: Mean difference of the logarithms of that class's probabilities, in nats.
        preference_error: The standard error of that mean, in nats.
        smallest: Number of samples of the smallest class.
        with_copies: Lead on validation of a head that also saw counterparts over one that did not.
    """

    told: Lead
    guessing_loss: float
    preferred: int
    preference: float
    preference_error: float
    smallest: int
    with_copies: Lead

    def harm(self) -> bool:
        """Say whether the change clearly does harm."""
        return (
            self.told.low > HARMFUL * self.guessing_loss
            or self.with_copies.high < 0
            or self._prefers(CLEAR_NATS, CLEAR_ERRORS)
        )

    def doubt(self, name: str, unit: str) -> str | None:
        """Return what speaks against the change, as the part of a sentence after "since"; None for nothing.

        Args:
            name: Name of the class :attr:`preferred`.
            unit: What several samples are called, such as ``pictures``.
        """
        share = self.told.nats / self.guessing_loss
        if self.told.low > HARMLESS * self.guessing_loss:
            return f"the way round alone tells {share:.0%} of what there is to know of the class"
        if self._prefers(PREFERENCE_NATS, PREFERENCE_ERRORS):
            return f"{unit} of '{name}' are told from their counterparts ({self.preference:+.2f} nats)"
        if self.with_copies.high < 0:
            return f"a head that also saw counterparts is worse on validation by {_nats(self.with_copies)}"
        if self.smallest < LEAST_OF_A_CLASS or self.told.high > HARMLESS * self.guessing_loss:
            return f"so few {unit} cannot show that it is harmless"
        return None

    def _prefers(self, nats: float, errors: float) -> bool:
        return self.preference > nats and self.preference > errors * self.preference_error


def try_counterparts(
    train: tuple[Features, Features, Targets],
    validation: tuple[Features, Targets],
    penalty: float,
    task: Task,
) -> Tried | None:
    """Try a change on features of samples and of their counterparts; None where a class has but one sample.

    Args:
        train: Features of training samples, of shape (samples, features), those of their counterparts, and
            class indices, of shape (samples,).
        validation: Features of validation, and its class indices.
        penalty: The penalty of the best head on the features.
        task: The task, which says what the loss is.
    """
    features, changed, targets = train
    smallest = int(np.bincount(targets).min())
    if smallest < 2:
        return None
    upright, turned, guessed = _cross_fitted(features - changed, targets)
    seen, guessing = judge(task, upright, targets), judge(task, guessed, targets)
    rows = np.arange(len(targets))
    scores = [
        np.log(np.clip(task.probabilities(logits, seen.temperature)[rows, targets], 1e-12, None))
        for logits in (upright, turned)
    ]
    preferred, mean, error = _most_preferred(scores[0] - scores[1], targets)
    return Tried(
        told=lead(seen, guessing),
        guessing_loss=guessing.loss,
        preferred=preferred,
        preference=mean,
        preference_error=error,
        smallest=smallest,
        with_copies=_lead_with_copies(train, validation, penalty, task),
    )


def _cross_fitted(
    differences: Features, targets: Targets
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return each sample's logits by a head that did not see it: as it is, turned round, and guessed.

    Args:
        differences: Features of the samples minus those of their counterparts, of shape (samples, features).
        targets: Class indices, of shape (samples,), with two samples of each class at least.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(targets)
    upright, turned, guessed = (np.empty((len(targets), len(counts)), np.float32) for _ in range(3))
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=0)
    for fitted, judged in folds.split(targets, targets):
        head = fit_head((differences[fitted], targets[fitted]), PENALTY)
        upright[judged] = head.logits(differences[judged])
        turned[judged] = head.logits(-differences[judged])
        guessed[judged] = np.log(np.bincount(targets[fitted]) / len(fitted))
    return upright, turned, guessed


def _most_preferred(differences: NDArray[np.float64], targets: Targets) -> tuple[int, float, float]:
    """Return the class with the clearest preference for its samples, its mean and the mean's error."""
    found = (-1, 0.0, 1.0)
    for target in np.unique(targets):
        values = differences[targets == target]
        mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
        error = max(error, 1e-9)
        if found[0] < 0 or mean / error > found[1] / found[2]:
            found = (int(target), mean, error)
    return found


def _lead_with_copies(
    train: tuple[Features, Features, Targets],
    validation: tuple[Features, Targets],
    penalty: float,
    task: Task,
) -> Lead:
    """Return the lead on validation of a head that also saw counterparts over one that did not."""
    features, changed, targets = train
    alone = fit_head((features, targets), penalty)
    both = fit_head((np.concatenate([features, changed]), np.concatenate([targets, targets])), penalty)
    first, second = (judge(task, head.logits(validation[0]), validation[1]) for head in (both, alone))
    return lead(first, second)


def _nats(difference: Lead) -> str:
    """Return a difference that is below 0 as a figure above 0, with its interval."""
    return f"{-difference.nats:.3f} nats (95 % interval {-difference.high:+.3f} to {-difference.low:+.3f})"
