"""A linear head on frozen features: seconds, and the start of full fine-tuning (LP-FT, arXiv:2202.10054)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class LinearHead:
    """Logits are ``features @ weight.T + bias``: float32 of shapes (classes, features) and (classes,).

    Attributes:
        inverse_regularisation: scikit-learn's ``C``, chosen by the loss on validation.
        validation_loss: Mean negative log-likelihood on validation, in nats.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    inverse_regularisation: float
    validation_loss: float


def train_head(
    train: tuple[NDArray[np.float32], NDArray[np.int64]], validation: tuple[NDArray[np.float32], NDArray[np.int64]], *, balanced: bool
) -> LinearHead:
    """Logistic regression on standardised features, the regularisation chosen on validation.

    Args:
        train: Features (samples, features) and class indices (samples,).
        validation: The same of the validation split.
        balanced: Weigh classes inversely to their size.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best: LinearHead | None = None
    for c in REGULARISATION:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300, class_weight="balanced" if balanced else None))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the loosest of the grid may not converge; validation then rejects it
            model.fit(*train)
        loss = float(log_loss(validation[1], model.predict_proba(validation[0]), labels=model.classes_))
        if best is None or loss < best.validation_loss:
            best = LinearHead(*_fold(model[0], model[1]), inverse_regularisation=c, validation_loss=loss)
    assert best is not None
    return best


def _fold(scaler: object, regression: object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The scaling folded into the weights; two classes' one logit spread over two rows."""
    weight = regression.coef_ / scaler.scale_  # type: ignore[attr-defined]
    bias = regression.intercept_ - weight @ scaler.mean_  # type: ignore[attr-defined]
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)
