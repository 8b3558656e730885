"""Texts for training: each tokenised once, through the code that serves them.

Where words change by chance, a text is tokenised anew in each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.modalities.text.augment import Augmenter
from pipeline.modalities.training import Batch, Readable, Shown
from pipeline.reporting.progress import track
from serving.model.errors import InputRefusedError
from serving.model.inputs.text.tokens import TextPreprocessor

SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class TextExamples:
    """Tokenised texts of one split.

    Attributes:
        ids: Token ids of each text, int64 of shape (tokens,).
        texts: The texts themselves where words change by chance, else nothing.
        preprocessor: The preprocessor that serves the texts.
        augmenter: The random change of words in training batches; None for none.
    """

    ids: list[NDArray[np.int64]]
    texts: list[str]
    preprocessor: TextPreprocessor
    augmenter: Augmenter | None

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ids)

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Return the token ids of one text, int64 of shape (tokens,)."""
        return self.ids[index]

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each text, int64 of shape (samples,)."""
        return np.array([len(ids) for ids in self.ids])

    def batch(
        self, indices: NDArray[np.int64], device: str, generator: torch.Generator | None = None
    ) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` for some texts, both int64 of shape (batch, longest).

        Words change by chance where a generator is given and the recipe asks for changes.
        """
        if generator is None or self.augmenter is None:
            arrays: list[NDArray[Any]] = [self.ids[index] for index in indices]
        else:
            arrays = [self._changed(index, generator, self.augmenter) for index in indices]
        return {
            name: torch.from_numpy(array).to(device)
            for name, array in self.preprocessor.collate(arrays).items()
        }

    def preview(
        self, index: int, variants: int, generator: torch.Generator
    ) -> tuple[Shown, list[Shown]] | None:
        """Return a text and variants of it, each cut where it is long; None where no word changes."""
        if self.augmenter is None:
            return None
        text, augmenter = self.texts[index], self.augmenter
        changed = [augmenter.change(text, _draw_seed(generator)) for _ in range(variants)]
        original, *others = (Shown(text=cut(each)) for each in (text, *changed))
        return original, others

    def _changed(self, index: int, generator: torch.Generator, augmenter: Augmenter) -> NDArray[Any]:
        """Return the token ids of one text with some of its words changed."""
        seed = _draw_seed(generator)
        try:
            return self.preprocessor.tokenize(augmenter.change(self.texts[index], seed)).array
        except InputRefusedError:  # nothing was left that the tokenizer knows
            return self.ids[index]


def tokenise(
    samples: Sequence[Readable], preprocessor: TextPreprocessor, augmenter: Augmenter | None
) -> TextExamples:
    """Tokenise texts through the code that serves them.

    Args:
        samples: The texts.
        preprocessor: The preprocessor of the network's input.
        augmenter: The random change of words in training batches; None for none.
    """
    ids, texts = [], []
    for sample in track(samples, total=len(samples), what="tokenise", unit="texts"):
        data = sample.read()
        ids.append(preprocessor.decode(data).array)
        if augmenter is not None:
            texts.append(data.decode("utf-8-sig"))
    return TextExamples(ids, texts, preprocessor, augmenter)


def cut(text: str) -> str:
    """Return a text as the report shows it, cut after 400 characters."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _draw_seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (1,), generator=generator))
