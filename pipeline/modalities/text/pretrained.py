"""A pretrained encoder and its tokenizer: exact, or refused.

Weights are never random in silence, and no code from the hub is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.machine.extras import require
from pipeline.modalities.text.network import Pooling
from pipeline.modalities.text.recipe import TextBackbone

THREE_WAYS = (
    "Three ways to give an encoder in the recipe: `weights: hub` with a network or a filled cache, "
    "`weights: FOLDER` with config.json, model.safetensors and a tokenizer, or `weights: package:NAME/PATH` "
    "for such a folder in an installed package."
)
POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class Encoder:
    """An encoder as it was pretrained.

    Attributes:
        model: The encoder, in evaluation mode on the CPU.
        config: transformers' configuration, as JSON.
        pooling: The way in which the vectors of a text's tokens become one.
        tokenizer_json: The tokenizer in the format of the `tokenizers` library, without padding and
            truncation.
        pad_id: Id of the token that short texts are padded with.
        longest: Number of tokens that the encoder has positions for.
    """

    model: nn.Module
    config: dict[str, Any]
    pooling: Pooling
    tokenizer_json: bytes
    pad_id: int
    longest: int


def load_encoder(backbone: TextBackbone) -> Encoder:
    """Load the recipe's encoder.

    Raises:
        GraftError: The encoder is not there, lacks weights, needs pickled files or code of its own, or its
            tokenizer is another model's.
    """
    require("transformers")
    from_hub = backbone.weights == "hub"
    # A path as text, since transformers takes it so.
    place = backbone.name if from_hub else str(locate(backbone.weights, "backbone.weights"))
    if not from_hub and not Path(place).is_dir():
        raise GraftError(f"backbone.weights: {place} is a file, but an encoder is a folder. {THREE_WAYS}")
    model = _load_model(place)
    tokenizer = _load_tokenizer(place)
    config = model.config
    config.use_cache = False
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise GraftError(
            f"backbone: the tokenizer of {place} has {len(tokenizer)} tokens, but the encoder only {rows}: "
            "it is another model's."
        )
    pad_ids = (tokenizer.pad_token_id, config.pad_token_id, tokenizer.eos_token_id)
    return Encoder(
        model=model.eval(),
        config=json.loads(config.to_json_string(use_diff=True)),
        pooling=backbone.pooling if backbone.pooling != "auto" else _pooling(place, config.model_type),
        tokenizer_json=_plain(tokenizer.backend_tokenizer.to_str()),
        pad_id=next((token for token in pad_ids if isinstance(token, int)), 0),
        longest=_longest(model),
    )


def _load_model(place: str) -> Any:  # noqa: ANN401 - transformers is untyped here
    """Load a model in float32 from a folder or by its name on the hub; GraftError unless all weights fit."""
    import torch
    from transformers import AutoModel

    try:
        with _quiet():
            model, loaded = AutoModel.from_pretrained(
                place,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # the hub's client and transformers raise many unrelated types
        raise _explain(place, error) from error
    missing = sorted(name for name in loaded["missing_keys"] if not name.startswith("pooler."))
    misfits = [f"`{name}` is missing" for name in missing]
    misfits += [f"`{item[0]}` has another shape" for item in loaded["mismatched_keys"]]
    if misfits:
        more = f"; and {len(misfits) - 5} more" if len(misfits) > 5 else ""
        raise GraftError(
            f"backbone.weights: {place} does not fit its own configuration: {'; '.join(misfits[:5])}{more}. "
            "Random weights are never filled in."
        )
    return model


def _load_tokenizer(place: str) -> Any:  # noqa: ANN401 - transformers is untyped here
    """Load a model's tokenizer; GraftError unless the `tokenizers` library can run it."""
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # as above
        raise _explain(place, error) from error
    if not getattr(tokenizer, "is_fast", False):
        raise GraftError(
            f"backbone: {place} has no tokenizer that the `tokenizers` library can run, "
            "and serving needs one."
        )
    return tokenizer


def _explain(place: str, error: Exception) -> GraftError:
    """Return the error for an encoder that cannot be loaded, with the other ways to give one."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return GraftError(
        f"backbone.weights: {place} did not give an encoder and its tokenizer ({reason}). {THREE_WAYS}"
    )


def _pooling(place: str, model_type: str) -> Pooling:
    """Return the pooling that a folder states, in the layout of sentence-transformers, or the kind's usual.

    That is the last token for causal models, and the mean for others.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )
    from transformers.utils import cached_file

    with _quiet():
        path = cached_file(
            place,
            "1_Pooling/config.json",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
    if path:
        return _stated_pooling(Path(path))
    causal = (
        model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    return "last" if causal else "mean"


def _stated_pooling(path: Path) -> Pooling:
    """Read a pooling from the configuration of sentence-transformers."""
    try:
        stated = {
            key
            for key, value in json.loads(path.read_bytes()).items()
            if key.startswith("pooling_mode_") and value is True
        }
    except (OSError, ValueError, AttributeError) as error:
        raise GraftError(
            f"{path}: cannot be read ({error}). Say it in the recipe: backbone.pooling"
        ) from error
    if len(stated) != 1 or not stated <= POOLINGS.keys():
        raise GraftError(
            f"{path}: says {', '.join(sorted(stated)) or 'nothing'}, which is not one of Graft's poolings. "
            f"Choose one in the recipe: backbone.pooling: {', '.join(POOLINGS.values())}"
        )
    return POOLINGS[stated.pop()]


def _plain(tokenizer_json: str) -> bytes:
    """Return a tokenizer without padding and truncation of its own, since the input spec decides them."""
    document = json.loads(tokenizer_json)
    document["padding"] = document["truncation"] = None
    return json.dumps(document, ensure_ascii=False).encode()


def _longest(model: nn.Module) -> int:
    """Return the number of tokens that a model has positions for; 8192 where it does not say.

    RoBERTa's tables of positions start after the padding token's row.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in {"position_embeddings", "wpe"}:
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return cast("int", getattr(model.config, "max_position_embeddings", None) or 8192)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from showing bars and advice within the block: what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
