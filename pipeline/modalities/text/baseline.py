"""The baseline that a text model has to beat: counted words and logistic regression, in seconds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.training import Readable

log = logging.getLogger("graft")


@dataclass(frozen=True)
class WordBaseline:
    """TF-IDF of words and pairs of words, and logistic regression on them.

    Attributes:
        model: The fitted pipeline of scikit-learn.
        name: The name that people read.
    """

    model: Any
    name: str = "TF-IDF (1-2 grams) + logistic regression"

    def probabilities(self, samples: Sequence[Readable]) -> NDArray[np.float64]:
        """Return the probabilities of samples, float64 of shape (samples, classes)."""
        return np.asarray(self.model.predict_proba(read_texts(samples)))


def fit_words(samples: Sequence[Readable], targets: NDArray[np.int64], seed: int) -> WordBaseline | None:
    """Fit the baseline; None where the texts have no words that scikit-learn's pattern finds.

    Args:
        samples: Samples of the training split.
        targets: Index of each sample's label, int64 of shape (samples,).
        seed: Seed of the regression.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=4.0, max_iter=200, random_state=seed),
    )
    try:
        return WordBaseline(model.fit(read_texts(samples), targets))
    except ValueError as error:
        log.warning("baseline: none, because %s", error)
        return None


def read_texts(samples: Sequence[Readable]) -> list[str]:
    """Return the texts of samples, which are UTF-8 with or without a byte order mark."""
    return [sample.read().decode("utf-8-sig") for sample in samples]
