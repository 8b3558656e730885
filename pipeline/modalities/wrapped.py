"""The tensors within what a training saved around them, as files of both kinds of networks have it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

AVERAGED = ("state_dict_ema", "model_ema", "ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "module")
"""Keys under which trainings save their network, the averaged one first, as timm prefers it."""
Tensors = dict[str, torch.Tensor]
log = logging.getLogger("graft")


def tensors_within(document: object) -> Tensors:
    """Return the tensors of what a file holds, those of mappings within others under names with dots.

    Args:
        document: A mapping of tensors by their names, or a checkpoint around one, or anything else.

    Returns:
        The tensors by their names; none where there are none.
    """
    return _named_tensors(_unwrap(document))


def harmless_classes() -> list[Any]:
    """Return classes that trainings save beside tensors, and that only hold values: arguments, numbers."""
    scalar = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32")]
    return [argparse.Namespace, np.dtype, *types, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _unwrap(document: Any) -> Any:  # noqa: ANN401 - whatever was saved
    """Return the network's part of what a training saved, and say which where there are several.

    An average of some of the tensors alone, as of parameters without the statistics of norms, is not taken.
    """
    while isinstance(document, Mapping):
        counts = {
            key: len(_named_tensors(document[key]))
            for key in WRAPPERS
            if isinstance(document.get(key), Mapping)
        }
        whole = max((count for key, count in counts.items() if key not in AVERAGED), default=0)
        kept = [key for key, count in counts.items() if count and (key not in AVERAGED or count >= whole)]
        if not kept:
            break
        others = [key for key, count in counts.items() if count and key != kept[0]]
        if others:
            average = " averaged" if kept[0] in AVERAGED else ""
            log.info(
                "backbone.weights: the%s tensors of `%s` are taken, not those of `%s`",
                average,
                kept[0],
                "`, `".join(others),
            )
        document = document[kept[0]]
    return document


def _named_tensors(document: Any, prefix: str = "") -> Tensors:  # noqa: ANN401 - whatever was saved
    """Return the tensors of a dictionary, and of those within it, under names with dots."""
    if not isinstance(document, Mapping):
        return {}
    tensors: Tensors = {}
    for key, value in document.items():
        if isinstance(value, torch.Tensor):
            tensors[f"{prefix}{key}"] = value
        else:
            tensors |= _named_tensors(value, f"{prefix}{key}.")
    return tensors
