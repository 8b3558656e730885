"""Random changes of a text's words (EDA: Wei and Zou, arXiv:1901.11196)."""

from __future__ import annotations

import numpy as np

from pipeline.modalities.text.recipe import TextAugment
from pipeline.modalities.text.wordnet import Synonyms, load_wordnet


class Augmenter:
    """A random change of texts that deletes, swaps and replaces words.

    Args:
        choice: The share of words that each change concerns.
        synonyms: The synonyms of a word in lower case; needed where ``choice.synonym`` is not 0.
    """

    def __init__(self, choice: TextAugment, synonyms: Synonyms | None = None) -> None:
        self.choice = choice
        self.synonyms = synonyms

    def change(self, text: str, seed: int) -> str:
        """Return a text with some of its words changed; one word always stays.

        Args:
            text: The text.
            seed: Seed of the changes: the same seed gives the same changes.
        """
        rng = np.random.default_rng(seed)
        words = text.split()
        if self.synonyms is not None:
            words = [
                self._replace(word, rng) if rng.random() < self.choice.synonym else word for word in words
            ]
        for place in np.flatnonzero(rng.random(len(words)) < self.choice.swap):
            other = int(rng.integers(len(words)))
            words[place], words[other] = words[other], words[place]
        kept = [word for word in words if rng.random() >= self.choice.delete]
        return " ".join(kept or words[:1])

    def _replace(self, word: str, rng: np.random.Generator) -> str:
        """Return a synonym of a word; the word itself where it has none."""
        assert self.synonyms is not None
        others = self.synonyms(word.lower()) if word.isalpha() else ()
        return others[int(rng.integers(len(others)))] if others else word


def create_augmenter(choice: TextAugment) -> Augmenter | None:
    """Create the augmenter that the recipe asks for; None where it asks for no change.

    Raises:
        GraftError: Synonyms are asked for, and WordNet is not installed.
    """
    if not choice.changes:
        return None
    return Augmenter(choice, load_wordnet() if choice.synonym else None)
