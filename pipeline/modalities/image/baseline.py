"""The classic model of pictures, without transfer: measured statistics, and a classifier of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.image.statistics import Numbers, describe_pictures
from pipeline.modalities.training import Readable

MOST_SAMPLES = 10_000  # training samples; more cost minutes and gain little
FOLDS = 3
CONSTANT = 1e-6
# scikit-learn's C times the number of samples: the penalty stays the same beside the mean loss of a sample.
INVERSE_PENALTY = 16.0
STATISTICS = "colours, edges and HOG"


@dataclass(frozen=True)
class StatisticsBaseline:
    """A classifier on statistics of pictures.

    Attributes:
        model: The fitted estimator of scikit-learn.
        name: The name that people read.
        classes: Number of classes.
    """

    model: Any
    name: str
    classes: int

    def probabilities(self, samples: Sequence[Readable]) -> NDArray[np.float64]:
        """Return the probabilities of samples, float64 of shape (samples, classes)."""
        found = np.zeros((len(samples), self.classes))
        found[:, self.model.classes_] = self.model.predict_proba(describe_pictures(samples))
        return found


def fit_statistics(
    samples: Sequence[Readable], targets: NDArray[np.int64], seed: int
) -> StatisticsBaseline | None:
    """Fit logistic regression and gradient boosting on some statistics, and keep the better one.

    Which is better is cross-validated on the training samples, of which 10,000 are used at most.

    Args:
        samples: Samples of the training split.
        targets: Index of each sample's label, int64 of shape (samples,).
        seed: Seed of the folds and of gradient boosting.

    Returns:
        The classifier; None where all samples are of one class.
    """
    chosen = np.linspace(0, len(targets) - 1, min(MOST_SAMPLES, len(targets))).round().astype(np.int64)
    some = targets[chosen]
    if len(np.unique(some)) == 1:
        return None
    numbers = describe_pictures([samples[index] for index in chosen])
    options = _options(len(some), seed)
    name = _best(options, numbers, some, seed)
    model = options[name].fit(numbers, some)
    return StatisticsBaseline(model, f"{STATISTICS} + {name}", int(targets.max()) + 1)


def _options(count: int, seed: int) -> Mapping[str, Any]:
    """Return the estimators that are tried, by their names for people.

    Args:
        count: Number of training samples.
        seed: Seed of gradient boosting.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression": make_pipeline(
            VarianceThreshold(CONSTANT),
            StandardScaler(),
            LogisticRegression(C=INVERSE_PENALTY / count, max_iter=300),
        ),
        "gradient boosting": HistGradientBoostingClassifier(
            learning_rate=0.08, max_iter=150, max_leaf_nodes=15, max_features=0.3, random_state=seed
        ),
    }


def _best(options: Mapping[str, Any], numbers: Numbers, targets: NDArray[np.int64], seed: int) -> str:
    """Return the name of the estimator with the most right answers in stratified folds; the first for few."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = min(FOLDS, int(np.bincount(targets)[np.unique(targets)].min()))
    if folds < 2:
        return next(iter(options))
    division = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scores = {
        name: float(cross_val_score(model, numbers, targets, cv=division).mean())
        for name, model in options.items()
    }
    return max(scores, key=lambda name: scores[name])
