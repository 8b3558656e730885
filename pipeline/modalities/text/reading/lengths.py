"""The number of tokens that an encoder reads: as many as it has positions for, or was pretrained with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

ANY_LENGTH = 8192
"""The most that a recipe may ask for, for encoders with relative positions, or none."""
TABLES = frozenset({"position_embeddings", "wpe", "embed_positions", "position_embedding", "wpe_embeddings"})
KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
OTHER_PARTS = re.compile(r"vision|visual|image|audio")
"""What the names of parts for pictures and sounds have in them, whose positions are not those of texts."""
RELATIVE = frozenset({"t5", "mt5", "umt5", "longt5", "xlnet", "bloom", "mamba", "mamba2", "funnel"})
"""Kinds whose positions are relative, so that what their configuration notes is no limit."""


@dataclass(frozen=True)
class Limit:
    """How long texts may be.

    Attributes:
        longest: Number of tokens past which the encoder fails, or has not seen positions.
        noted: Number of tokens that it was pretrained with, where it notes fewer than ``longest``, else None.
    """

    longest: int
    noted: int | None


def limit_of(encoder: nn.Module, noted: int | None) -> Limit:
    """Return how long the texts of an encoder may be.

    Args:
        encoder: A transformers model.
        noted: Number of tokens that its tokenizer or sentence-transformers notes; None for no note.
    """
    positions = _positions(encoder)
    longest = positions if positions is not None else max(ANY_LENGTH, noted or 0)
    return Limit(longest, noted if noted is not None and noted < longest else None)


def _positions(encoder: nn.Module) -> int | None:
    """Return the number of positions of an encoder's table or configuration; None where neither limits it.

    RoBERTa's tables of positions start after the padding token's row, and BART's after two rows.
    """
    tables = [
        module.num_embeddings - _skipped(module)
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Embedding)
        and name.rpartition(".")[2] in TABLES
        and not OTHER_PARTS.search(name)
    ]
    config = cast("Any", encoder.config)
    if not tables and config.model_type in RELATIVE:
        return None
    configs = (config, getattr(config, "text_config", None))
    stated = [value for each in configs for key in KEYS if _is_number(value := getattr(each, key, None))]
    return next(iter([*tables, *stated]), None)


def _skipped(table: nn.Embedding) -> int:
    """Return the number of rows of a table of positions that no position uses."""
    offset = getattr(table, "offset", None)
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _is_number(value: object) -> bool:
    """Say whether a configuration's value is a number of positions; some kinds note -1, and others 1e30."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10_000_000
