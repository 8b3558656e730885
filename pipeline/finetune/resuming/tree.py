"""Nested states as one JSON document and named tensors, and back: no pickle has a part in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Tree = Mapping[str, Any]
"""Nested dictionaries and lists of JSON values, tensors and NumPy arrays."""
TENSOR, ARRAY = "$tensor", "$array"


def flatten(tree: Tree) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a tree as a JSON document, and its tensors and arrays by their path in it.

    The tensors are contiguous, on the CPU, and share no memory with each other, as safetensors demands. Those
    that need no change for it are not copied.

    Args:
        tree: Nested dictionaries with string keys, lists and tuples of JSON values, tensors and arrays.
            Tuples come back as lists.

    Raises:
        TypeError: A key is no string, or a value is none of these.
    """
    tensors: dict[str, torch.Tensor] = {}
    return _convert(tree, "", tensors, set()), tensors


def _convert(value: Any, path: str, tensors: dict[str, torch.Tensor], seen: set[int]) -> Any:  # noqa: ANN401
    """Return the document of a part of a tree, and add its tensors to those found."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape)
        return {ARRAY: _keep(value, path, tensors, seen)}
    if isinstance(value, torch.Tensor):
        return {TENSOR: _keep(value.detach(), path, tensors, seen)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{path}: a key is no string")
        return {key: _convert(each, f"{path}/{key}", tensors, seen) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(each, f"{path}/{index}", tensors, seen) for index, each in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{path}: {type(value).__name__} cannot be kept")


def _keep(value: torch.Tensor, path: str, tensors: dict[str, torch.Tensor], seen: set[int]) -> str:
    """Add a tensor to those found, and return its name."""
    value = value.cpu().contiguous()
    place = value.untyped_storage().data_ptr()
    tensors[path] = value.clone() if place in seen else value
    seen.add(place)
    return path


def rebuild(document: Any, tensors: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 - any value of a tree
    """Return the tree of a document and its tensors, as :func:`flatten` took it apart."""
    if isinstance(document, list):
        return [rebuild(each, tensors) for each in document]
    if not isinstance(document, dict):
        return document
    if document.keys() == {TENSOR}:
        return tensors[document[TENSOR]]
    if document.keys() == {ARRAY}:
        return tensors[document[ARRAY]].numpy()
    return {key: rebuild(each, tensors) for key, each in document.items()}


def copied(tree: Any) -> Any:  # noqa: ANN401 - any value of a tree
    """Return a tree whose tensors, on the CPU, and arrays are copies that later changes do not reach."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, Mapping):
        return {key: copied(each) for key, each in tree.items()}
    return [copied(each) for each in tree] if isinstance(tree, list | tuple) else tree


def size_of(tree: Any) -> int:  # noqa: ANN401 - any value of a tree
    """Return the number of bytes of a tree's tensors and arrays."""
    if isinstance(tree, torch.Tensor | np.ndarray):
        return tree.nbytes
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return sum(map(size_of, parts))
