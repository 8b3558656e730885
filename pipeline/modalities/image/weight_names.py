"""The names of a file's tensors beside those of a network: prefixes, heads, and what stands aside of both."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

Shape = Sequence[int]

# Parts of files that belong to no backbone: heads by the names that libraries give them, auxiliary heads,
# and what pre-training alone needs: tokens of hidden patches, decoders, projections.
_ASIDE = re.compile(
    r"(?:^|\.)mask_token$"
    r"|^(?:heads?|head_dist|fc|fcs|classifiers?|classif|last_linear|logits?|linear_head|cls_head|pre_logits"
    r"|output|predictor|projectors?|projection_head|prototypes|dino_head|ibot_head|norm_head)(?:\.|_|$)"
    r"|^aux|^decoder",
    re.IGNORECASE,
)
# Tensors that depend on the size of the pictures.
_OF_POSITIONS = re.compile(r"pos|rel_|bias_table|attention_bias|relative")
ANCHORS = 4


def is_aside(name: str) -> bool:
    """Say whether a tensor, by its name, is part of a head, of an auxiliary one, or of pre-training alone."""
    return _ASIDE.search(name) is not None


def is_of_positions(name: str) -> bool:
    """Say whether a tensor, by its name, holds something for each position in a picture."""
    return _OF_POSITIONS.search(name) is not None


def loose_heads(
    over: Collection[str], tops: Collection[str], shapes: Mapping[str, Shape], width: int
) -> set[str]:
    """Return the names of left-over tensors that are one linear layer each, on the features that heads get.

    Args:
        over: Names of the file's tensors that are not in the network.
        tops: First parts of the names of the network's backbone, under which no head stands.
        shapes: Shape of each of these tensors.
        width: Number of features that the network gives.
    """
    layers: dict[str, set[str]] = {}
    for name in over:
        layers.setdefault(name.partition(".")[0], set()).add(name)
    return {
        name
        for top, names in layers.items()
        if top not in tops and _is_linear(names, shapes, width)
        for name in names
    }


def _is_linear(names: Collection[str], shapes: Mapping[str, Shape], width: int) -> bool:
    """Say whether tensors are a weight, of shape (outputs, width), and at most a bias of as many outputs."""
    weight = next((name for name in names if name.endswith(".weight")), None)
    if weight is None or len(shapes[weight]) != len(("outputs", "width")) or shapes[weight][1] != width:
        return False
    bias = f"{weight.removesuffix('weight')}bias"
    return set(names) <= {weight, bias} and (bias not in names or tuple(shapes[bias]) == (shapes[weight][0],))


def prefixes_of(wanted: Collection[str], given: Collection[str]) -> list[str]:
    """Return the prefixes under which a file has most of a network's names; several where it is there twice.

    Args:
        wanted: Names of the network's tensors.
        given: Names of the file's tensors, with dots between the parts of prefixes and names.

    Returns:
        Prefixes with their last dot, or the empty one, in the order of preference: the empty one, those of
        averaged weights, then as they stand in the file.
    """
    names = set(given)
    by_length = sorted(wanted, key=len)
    anchors = dict.fromkeys([*by_length[-ANCHORS:], *list(wanted)[:ANCHORS], *list(wanted)[-ANCHORS:]])
    found = {""} | {
        name.removesuffix(anchor) for anchor in anchors for name in given if name.endswith(f".{anchor}")
    }
    counts = {prefix: sum(f"{prefix}{name}" in names for name in wanted) for prefix in found}
    best = max(counts.values(), default=0)
    places = {prefix: place for place, prefix in enumerate(dict.fromkeys(_prefixes_in_order(given, found)))}
    return sorted(
        (prefix for prefix, count in counts.items() if count == best),
        key=lambda prefix: (prefix != "", "ema" not in prefix, places.get(prefix, 0)),
    )


def _prefixes_in_order(given: Collection[str], prefixes: Collection[str]) -> list[str]:
    """Return prefixes in the order in which a file's names have them."""
    return [prefix for name in given for prefix in prefixes if name.startswith(prefix)]


def common_prefix(names: Collection[str], known: Collection[str]) -> str:
    """Return the prefix that all names share, made of known ones only, such as ``module.model.``.

    Args:
        names: Names of tensors.
        known: The prefixes, each with its dot.
    """
    prefix = ""
    while True:
        longer = next(
            (prefix + part for part in known if all(n.startswith(prefix + part) for n in names)), None
        )
        if longer is None or not names:
            return prefix
        prefix = longer
