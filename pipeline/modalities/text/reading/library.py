"""How transformers is called: quietly, and so that whatever it raises is one error of one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of

THREE_WAYS = (
    "Three ways to give an encoder in the recipe: `weights: hub` with a network or a filled cache, "
    "`weights: FOLDER` with config.json, model.safetensors and a tokenizer, or `weights: package:NAME/PATH` "
    "for such a folder in an installed package."
)


def explain(place: str | Path, error: Exception) -> GraftError:
    """Return the error for an encoder that cannot be loaded, with the other ways to give one.

    Args:
        place: The folder, or the name on the hub.
        error: What the library raised.
    """
    return GraftError(
        f"backbone.weights: {place} did not give an encoder and its tokenizer ({reason_of(error)}). "
        f"{THREE_WAYS}"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from showing bars, advice and warnings within the block: what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
