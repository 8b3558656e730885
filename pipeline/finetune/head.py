"""A linear head on frozen features: trained in seconds, and the start of full fine-tuning.

That a good head comes first is LP-FT (arXiv:2202.10054).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# L2 penalties on the weights, beside the mean loss of a sample, on features of unit variance.
PENALTIES = (0.4, 0.06, 0.006, 0.0006)
# The head that full fine-tuning starts from: the larger its weights, the larger the first gradients into the
# backbone, and the more of what is pretrained they destroy. On the solar cells the validation loss after
# three epochs was 0.353 from here, 0.384 from a penalty of 0.06, and 0.432 from 0.006, which by itself has
# the lowest loss.
GENTLE = PENALTIES[:1]
Features = NDArray[np.float32]
Targets = NDArray[np.int64]


@dataclass(frozen=True)
class LinearHead:
    """A linear layer from features to logits: ``features @ weight.T + bias``.

    Attributes:
        weight: The matrix, float32 of shape (classes, features).
        bias: The bias, float32 of shape (classes,).
        penalty: The L2 penalty that the head was trained with, chosen by the loss on validation.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float

    def logits(self, features: Features) -> NDArray[np.float32]:
        """Return logits, float32 of shape (samples, classes), for features of shape (samples, features)."""
        return features @ self.weight.T + self.bias


def train_head(
    train: tuple[Features, Targets],
    validation: tuple[Features, Targets],
    *,
    balanced: bool,
    penalties: Sequence[float] = PENALTIES,
) -> LinearHead:
    """Train a head by logistic regression, with the penalty that has the lowest loss on validation.

    Features are scaled by one number, not each by its own: a feature that is almost never active on the data
    would get a huge weight, and full fine-tuning from there diverges (training loss 13 instead of 0.6 in the
    first epoch).

    Args:
        train: Features of the training split, float32 of shape (samples, features), and its class indices,
            int64 of shape (samples,).
        validation: The same of the validation split.
        balanced: Whether classes are weighted inversely to their size.
        penalties: The L2 penalties to choose from; by default the whole grid.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    scale = 1 / max(float(train[0].std()), 1e-12)
    best: tuple[float, LinearHead] | None = None
    for penalty in penalties:
        model = LogisticRegression(
            C=1 / (penalty * len(train[1])), max_iter=300, class_weight="balanced" if balanced else None
        )
        with warnings.catch_warnings():
            # With the lightest penalty it may not converge; validation then rejects that head.
            warnings.simplefilter("ignore")
            model.fit(train[0] * scale, train[1])
        loss = float(
            log_loss(validation[1], model.predict_proba(validation[0] * scale), labels=model.classes_)
        )
        if best is None or loss < best[0]:
            weight, bias = _rows(model.coef_ * scale, model.intercept_)
            best = loss, LinearHead(weight, bias, penalty=penalty)
    assert best is not None
    return best[1]


def _rows(
    weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight and bias with one row a class.

    scikit-learn gives two classes a single logit, which is spread over two rows.
    """
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)
