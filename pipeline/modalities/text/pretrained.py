"""A pretrained encoder and its tokenizer: exact, or refused.

Weights are never random in silence, and no code from the hub is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.errors import GraftError
from pipeline.files.sources import locate
from pipeline.machine.extras import require
from pipeline.modalities.text.network import Pooling
from pipeline.modalities.text.reading.architectures import Architecture, architecture_of, read_config
from pipeline.modalities.text.reading.layout import fetch, find_layout
from pipeline.modalities.text.reading.lengths import Limit, limit_of
from pipeline.modalities.text.reading.library import THREE_WAYS
from pipeline.modalities.text.reading.pooling import pooling_of, say_what_is_left_out
from pipeline.modalities.text.reading.tokenizing import drop_tokens_without_rows, load_tokenizer
from pipeline.modalities.text.reading.weights import load_weights, rows_of
from pipeline.modalities.text.recipe import TextBackbone


@dataclass(frozen=True)
class Encoder:
    """An encoder as it was pretrained.

    Attributes:
        model: The encoder, in evaluation mode on the CPU.
        config: transformers' configuration, as JSON.
        architecture: The class of the model, and the part of it that encodes.
        pooling: The way in which the vectors of a text's tokens become one.
        tokenizer_json: The tokenizer in the format of the `tokenizers` library, without padding and
            truncation.
        pad_id: Id of the token that short texts are padded with.
        limit: How many tokens the encoder reads.
    """

    model: nn.Module
    config: dict[str, Any]
    architecture: Architecture
    pooling: Pooling
    tokenizer_json: bytes
    pad_id: int
    limit: Limit

    @property
    def longest(self) -> int:
        """Number of tokens that the encoder has positions for."""
        return self.limit.longest


def load_encoder(backbone: TextBackbone) -> Encoder:
    """Load the recipe's encoder.

    What can be refused at once is looked at first, so that no weights are read in vain.

    Raises:
        GraftError: The encoder is not there, lacks weights, needs code of its own or of a pickled file, its
            pooling is none of Graft's, or its tokenizer is another model's or cannot be run.
    """
    require("transformers")
    layout = find_layout(_folder_of(backbone))
    config = read_config(layout.folder)
    pooling = backbone.pooling if backbone.pooling != "auto" else pooling_of(layout, config)
    architecture = architecture_of(config, layout.folder)
    tokenizer = load_tokenizer(layout, config)
    model = load_weights(layout.folder, config, architecture)
    tokenizer = drop_tokens_without_rows(tokenizer, rows_of(model, layout.folder), layout.folder)
    say_what_is_left_out(layout)
    model.config.use_cache = False
    encoder = architecture.part_of(model)
    return Encoder(
        model=encoder,
        config=json.loads(model.config.to_json_string(use_diff=True)),
        architecture=architecture,
        pooling=pooling,
        tokenizer_json=tokenizer.to_bytes(),
        pad_id=tokenizer.pad_ids[0],
        limit=limit_of(encoder, tokenizer.limit),
    )


def _folder_of(backbone: TextBackbone) -> Path:
    """Return the folder that the recipe names, which is the hub's cache for a model of the hub."""
    if backbone.weights == "hub":
        return fetch(backbone.name)
    folder = locate(backbone.weights, "backbone.weights")
    if not folder.is_dir():
        raise GraftError(f"backbone.weights: {folder} is a file, but an encoder is a folder. {THREE_WAYS}")
    return folder
