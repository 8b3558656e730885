"""Texts of several lengths, on which a backbone is tried before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.model.errors import InputRefusedError
from serving.model.inputs.text.tokens import TextPreprocessor

LONGEST = 1024
"""Number of tokens of the longest text at most: attention to more would take longer than a trial may."""
SHORTEST, SHORT = 5, 13
WORDS = "we saw 3 birds in the rain, and a red house by the river; she said: good day! 每天 café 42.5 "


def probes(preprocessor: TextPreprocessor) -> Sequence[NDArray[np.int64]]:
    """Return token ids of three texts: as long as the recipe allows and 1,024 tokens at most, 5 and 13.

    Args:
        preprocessor: The preprocessor of the network's input.
    """
    longest = min(preprocessor.spec.max_tokens, LONGEST)
    try:
        ids: NDArray[np.int64] = preprocessor.tokenize(WORDS * longest).array
    except InputRefusedError:  # a tokenizer that knows none of these words
        ids = np.resize(preprocessor.blank(), longest)
    return [ids[:length] for length in (longest, min(SHORTEST, longest), min(SHORT, longest))]
