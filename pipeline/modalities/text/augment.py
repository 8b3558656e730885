"""Random changes of a text's words (EDA: Wei and Zou, arXiv:1901.11196)."""

from __future__ import annotations

import numpy as np

from pipeline.modalities.text.recipe import TextAugment
from pipeline.modalities.text.wordnet import Synonyms, load_wordnet


class Augmenter:
    """Deletes, swaps and replaces words by chance.

    Args:
        choice: The shares.
        synonyms: Of a word in lower case; needed where ``choice.synonym`` is not 0.
    """

    def __init__(self, choice: TextAugment, synonyms: Synonyms | None = None) -> None:
        self.choice = choice
        self.synonyms = synonyms

    def change(self, text: str, seed: int) -> str:
        """A text with the same words but for the changes; the same seed gives the same changes, and one word always stays."""
        rng = np.random.default_rng(seed)
        words = text.split()
        if self.synonyms is not None:
            words = [
                self._replaced(word, rng) if rng.random() < self.choice.synonym else word for word in words
            ]
        for place in np.flatnonzero(rng.random(len(words)) < self.choice.swap):
            other = int(rng.integers(len(words)))
            words[place], words[other] = words[other], words[place]
        kept = [word for word in words if rng.random() >= self.choice.delete]
        return " ".join(kept or words[:1])

    def _replaced(self, word: str, rng: np.random.Generator) -> str:
        assert self.synonyms is not None
        others = self.synonyms(word.lower()) if word.isalpha() else ()
        return others[int(rng.integers(len(others)))] if others else word


def create_augmenter(choice: TextAugment) -> Augmenter | None:
    """What the recipe asks for; None where nothing changes.

    Raises:
        GraftError: Synonyms are asked for, and WordNet is not installed.
    """
    if not choice.changes:
        return None
    return Augmenter(choice, load_wordnet() if choice.synonym else None)
