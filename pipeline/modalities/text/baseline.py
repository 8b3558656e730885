"""What a text model has to beat: counted words and logistic regression, in seconds."""

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
    """TF-IDF of words and pairs of words, and logistic regression on them."""

    model: Any
    name: str = "TF-IDF (1-2 grams) + logistic regression"

    def probabilities(self, samples: Sequence[Readable]) -> NDArray[np.float64]:
        """float64 of shape (samples, classes)."""
        return np.asarray(self.model.predict_proba(read_texts(samples)))


def fit_words(samples: Sequence[Readable], targets: NDArray[np.int64], seed: int) -> WordBaseline | None:
    """Fit it on the training split; None where the texts have no words that scikit-learn's pattern finds."""
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
    """The texts themselves."""
    return [sample.read().decode("utf-8-sig") for sample in samples]
