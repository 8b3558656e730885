"""Random changes of a text's words (EDA: Wei and Zou, arXiv:1901.11196)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.modalities.text.recipe import TextAugment
from pipeline.modalities.text.wordnet import Synonyms, load_wordnet

# A change is tried with its shares, then with half and a quarter of them; after that the text stays as it is.
STRENGTHS: Final = (1.0, 0.5, 0.25)
LEAST_KEPT: Final = 0.5
"""Share of a text's words that a change leaves at least."""
LEAST_WORDS: Final = 3
"""Number of words that it leaves at least: of "not good" each word alone says something else."""
SHORTEST_REPLACED: Final = 3
"""Number of letters from which a word is replaced: to WordNet, "I" is iodine and "in" an inch."""
# Scripts that put no spaces between words: what stands between two spaces there is a clause or a sentence.
UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff"  # Burmese
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf"  # Tai
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3100-\u312f\u31a0-\u31bf\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Chinese
)


class Augmenter:
    """A random change of texts that deletes, swaps and replaces words.

    Words are what stands between spaces. Whatever holds letters of a script without spaces, such as Chinese,
    Japanese or Thai, is a clause rather than a word, and stays in its place.

    Args:
        choice: The share of words that each change concerns.
        synonyms: The synonyms of a word in lower case; needed where ``choice.synonym`` is not 0.
    """

    def __init__(self, choice: TextAugment, synonyms: Synonyms | None = None) -> None:
        self.choice = choice
        self.synonyms = synonyms

    def change(self, text: str, seed: int) -> str:
        """Return a text with some of its words changed; half of them, and three at least, always stay.

        A change that leaves less is tried again with fewer words, and at last not made.

        Args:
            text: The text.
            seed: Seed of the changes: the same seed gives the same changes.
        """
        rng = np.random.default_rng(seed)
        words, spaces = _split(text)
        free = [place for place, word in enumerate(words) if not UNSPACED.search(word)]
        count = _count_words(words)
        wanted = max(count * LEAST_KEPT, min(count, LEAST_WORDS))
        if wanted == 0:
            return text
        for strength in STRENGTHS:
            changed = self._change([words[place] for place in free], strength, rng)
            after = dict(enumerate(words)) | dict(zip(free, changed, strict=True))
            left = [(word, spaces[place]) for place, word in after.items() if word is not None]
            if _count_words([word for word, _ in left]) >= wanted:
                return "".join(word + space for word, space in left).rstrip()
        return text

    def _change(self, words: list[str], strength: float, rng: np.random.Generator) -> list[str | None]:
        """Return words with some replaced and swapped, and None for those that are left out."""
        choice = self.choice
        if self.synonyms is not None:
            words = [
                self._replace(word, rng) if rng.random() < choice.synonym * strength else word
                for word in words
            ]
        for place in np.flatnonzero(rng.random(len(words)) < choice.swap * strength):
            other = int(rng.integers(len(words)))
            words[place], words[other] = words[other], words[place]
        return [word if rng.random() >= choice.delete * strength else None for word in words]

    def _replace(self, word: str, rng: np.random.Generator) -> str:
        """Return a synonym of a word; the word itself where it has none."""
        assert self.synonyms is not None
        is_word = word.isalpha() and len(word) >= SHORTEST_REPLACED
        others = self.synonyms(word.lower()) if is_word else ()
        return others[int(rng.integers(len(others)))] if others else word


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the words of a text, and the spaces after each."""
    found = re.findall(r"(\S+)(\s*)", text)
    return [word for word, _ in found], [space for _, space in found]


def _count_words(words: Sequence[str]) -> int:
    """Return the number of words that are more than punctuation."""
    return sum(any(character.isalnum() for character in word) for word in words)


def create_augmenter(choice: TextAugment) -> Augmenter | None:
    """Create the augmenter that the recipe asks for; None where it asks for no change.

    Raises:
        GraftError: Synonyms are asked for, and WordNet is not installed.
    """
    if not choice.changes:
        return None
    return Augmenter(choice, load_wordnet() if choice.synonym else None)
