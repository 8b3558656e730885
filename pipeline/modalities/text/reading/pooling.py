"""The pooling that a folder states, or that is usual for an encoder's kind; what is left out is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from pipeline.errors import GraftError
from pipeline.modalities.reasons import reason_of
from pipeline.modalities.text.network import Pooling
from pipeline.modalities.text.reading.layout import POOLING, Layout

log = logging.getLogger("graft")
# What newer versions of sentence-transformers write as `pooling_mode`, older ones as a key for each.
POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
AFTER_POOLING = ("Normalize", "Dense", "LayerNorm", "Dropout")
CHOICE = "Choose one in the recipe: backbone.pooling: mean, cls or last"


def pooling_of(layout: Layout, config: Any) -> Pooling:  # noqa: ANN401 - transformers is untyped here
    """Return the pooling that a folder states, or else the kind's usual.

    That is the last token for causal models, and the mean for others.

    Args:
        layout: Where the parts of the encoder are.
        config: transformers' configuration of the encoder.

    Raises:
        GraftError: The folder states a pooling that Graft does not have, or steps between the encoder and
            the pooling.
    """
    _refuse_other_steps(layout)
    return _stated(layout.pooling) if layout.pooling is not None else _usual(config)


def say_what_is_left_out(layout: Layout) -> None:
    """Log the steps of a sentence-transformers model that a linear head does not need, if there are any."""
    kinds = [module.kind for module in layout.modules if module.kind != POOLING]
    if kinds:
        log.info(
            "backbone: %s of %s, after the pooling, is left out: the head is trained on the pooled vectors.",
            " and ".join(kinds),
            layout.root.name,
        )


def _refuse_other_steps(layout: Layout) -> None:
    """Refuse steps that change the vectors of tokens, such as an LSTM, and such as are not known."""
    kinds = [module.kind for module in layout.modules]
    begin = kinds.index(POOLING) + 1 if POOLING in kinds else 0
    others = [kind for kind in kinds[: begin - 1] if begin] + [
        kind for kind in kinds[begin:] if kind not in AFTER_POOLING
    ]
    if others:
        raise GraftError(
            f"backbone.weights: {layout.root} has the steps {', '.join(others)} beside its encoder, which "
            f"Graft cannot build. To use its encoder alone, say how to pool. {CHOICE}"
        )


def _stated(path: Path) -> Pooling:
    """Read a pooling from the configuration of sentence-transformers."""
    try:
        document = json.loads(path.read_bytes())
        mode = document.get("pooling_mode") or []
        stated = {mode} if isinstance(mode, str) else set(mode)
        stated |= {
            key for key, value in document.items() if key.startswith("pooling_mode_") and value is True
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise GraftError(f"backbone.weights: {path} cannot be read ({reason_of(error)}). {CHOICE}") from error
    if len({POOLINGS.get(mode, mode) for mode in stated}) != 1 or not stated <= POOLINGS.keys():
        raise GraftError(
            f"backbone.weights: {path} says {', '.join(sorted(stated)) or 'nothing'}, which is not one of "
            f"Graft's poolings. {CHOICE}"
        )
    return POOLINGS[stated.pop()]


def _usual(config: Any) -> Pooling:  # noqa: ANN401 - as above
    """Return the pooling that is usual for a kind of encoder: the last token of causal ones, or the mean."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    writes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    causal = writes and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decoder = getattr(config, "is_decoder", False) is True
    encodes = getattr(config, "is_encoder_decoder", False) is True
    return "last" if (causal or decoder) and not encodes else "mean"
