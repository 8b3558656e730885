"""A linear head on frozen features: trained in seconds, and the start of full fine-tuning.

That a good head comes first is LP-FT (arXiv:2202.10054).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.keep.judging import smoothed_losses
from pipeline.tasks.classification import CLASSIFICATION

# L2 penalties on the weights, beside the mean loss of a sample, on features of unit variance.
PENALTIES = (4.0, 1.0, 0.4, 0.15, 0.06, 0.02, 0.006, 0.002, 0.0006, 0.0002)
# Number of validation samples from which they choose the penalty themselves.
ENOUGH_TO_CHOOSE = 1000
FOLDS = 5
# The head that full fine-tuning starts from: the larger its weights, the larger the first gradients into the
# backbone, and the more of what is pretrained they destroy. On the solar cells the validation loss after
# three epochs was 0.353 from here, 0.384 from a penalty of 0.06, and 0.432 from 0.006, which by itself has
# the lowest loss.
GENTLE = 0.4
Features = NDArray[np.float32]
Targets = NDArray[np.int64]
Masses = NDArray[np.float32]
# What a sample whose weight or probability is 0 adds to its class in the heads, so that no class lacks rows.
LEAST_MASS = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """A linear layer from features to logits: ``features @ weight.T + bias``.

    Attributes:
        weight: The matrix, float32 of shape (classes, features).
        bias: The bias, float32 of shape (classes,).
        penalty: The L2 penalty that the head was trained with.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Return logits, float32 of shape (samples, classes), for features of shape (samples, features)."""
        return features @ self.weight.T + self.bias


def fit_heads(
    train: tuple[Features, Targets],
    validation: tuple[Features, Targets],
    masses: Masses | None = None,
    penalty: float | None = None,
) -> tuple[LinearHead, LinearHead]:
    """Return the best head, whose penalty is chosen unless it is given, and the gentle one.

    Where validation has few samples, the penalty is chosen by cross-validation on the training split, which
    has more of them; so the choice also leaves validation fresh for what is compared with the head.

    Args:
        train: Features of the training split, float32 of shape (samples, features), and its class indices,
            int64 of shape (samples,).
        validation: The same of the validation split.
        masses: What each training sample adds to each class, its probability times its weights, float32 of
            shape (samples, classes); None, the default, for one label a sample, and equal weights.
        penalty: The best head's penalty; None, the default, to choose it.
    """
    penalty = choose_penalty(train, validation, masses) if penalty is None else penalty
    best = fit_head(train, penalty, masses)
    gentle = best if penalty >= GENTLE else fit_head(train, GENTLE, masses)
    return best, gentle


def choose_penalty(
    train: tuple[Features, Targets],
    validation: tuple[Features, Targets],
    masses: Masses | None = None,
) -> float:
    """Return the penalty of the lowest loss: on validation, or cross-validated where that has few samples.

    Args:
        train: Features and class indices of the training split.
        validation: The same of the validation split.
        masses: What each training sample adds to each class; None, the default, for one label a sample.
    """
    folds = _folds(train[1]) if len(validation[1]) < ENOUGH_TO_CHOOSE else []
    whole = (np.arange(len(train[1])), validation)
    parts = [(rows, (train[0][judged], train[1][judged])) for rows, judged in folds] or [whole]
    losses: dict[float, float] = {}
    for penalty in PENALTIES:
        losses[penalty] = 0.0
        for rows, judged_on in parts:
            some = None if masses is None else masses[rows]
            losses[penalty] += _loss(fit_head((train[0][rows], train[1][rows]), penalty, some), judged_on)
        best = min(losses, key=lambda tried: losses[tried])
        if PENALTIES.index(penalty) >= PENALTIES.index(best) + 2:  # the loss has one minimum
            break
    return best


def _loss(head: LinearHead, judged_on: tuple[Features, Targets]) -> float:
    """Return a head's mean loss on samples that it was not fitted on, in nats."""
    probabilities = CLASSIFICATION.probabilities(head.logits(judged_on[0]))
    return float(smoothed_losses(probabilities, judged_on[1]).mean())


def _folds(targets: Targets) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return up to five stratified folds, each the indices to fit on and to judge on; none for rare classes.

    Every class has to be in what is fitted on.
    """
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, int(np.bincount(targets).min()))
    if count < 2:
        return []
    return list(StratifiedKFold(count, shuffle=True, random_state=0).split(targets, targets))


def fit_head(train: tuple[Features, Targets], penalty: float, masses: Masses | None = None) -> LinearHead:
    """Fit a head by logistic regression.

    Features are scaled by one number, not each by its own: a feature that is almost never active on the data
    would get a huge weight, and full fine-tuning from there diverges (training loss 13 instead of 0.6 in the
    first epoch). That they are centred changes only the way of the solver, not where it ends.

    Args:
        train: Features, float32 of shape (samples, features), and class indices, int64 of shape (samples,).
        penalty: The L2 penalty on the weights.
        masses: What each sample adds to each class, float32 of shape (samples, classes); None, the default,
            for one label a sample.
    """
    from sklearn.linear_model import LogisticRegression

    scale, mean = 1 / max(float(train[0].std()), 1e-12), train[0].mean(axis=0)
    features, targets, weights = _weighted_rows(*train, masses)
    total = len(targets) if weights is None else float(weights.sum())
    model = LogisticRegression(C=1 / (penalty * total), max_iter=300)
    with warnings.catch_warnings():
        # With the lightest penalty it may not converge; the choice of the penalty then rejects that head.
        warnings.simplefilter("ignore")
        model.fit((features - mean) * scale, targets, weights)
    coefficients = model.coef_ * scale
    weight, bias = _rows(coefficients, model.intercept_ - coefficients @ mean)
    return LinearHead(weight, bias, penalty=penalty)


def _weighted_rows(
    features: Features, targets: Targets, masses: Masses | None
) -> tuple[Features, Targets, NDArray[np.float64] | None]:
    """Return features, class indices and weights with one row for each class that a sample may be of.

    Every sample has a row of its label, if of next to no weight, so that no class is without rows.
    """
    if masses is None:
        return features, targets, None
    own = np.eye(masses.shape[1])[targets]
    whole = np.maximum(masses.astype(np.float64), own * LEAST_MASS)
    samples, classes = np.nonzero(whole)
    return features[samples], classes, whole[samples, classes]


def _rows(
    weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight and bias with one row a class.

    scikit-learn gives two classes a single logit, which is spread over two rows.
    """
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)
