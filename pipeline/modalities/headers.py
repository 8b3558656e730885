"""What a file of weights holds, without reading the weights."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

LONGEST_HEADER = 100_000_000
Shape = tuple[int, ...]


def read_shapes(path: Path) -> Mapping[str, Shape] | None:
    """Return the shapes of the tensors in a file, by their names and in its order.

    Args:
        path: A file of safetensors, or one that torch saved.

    Returns:
        The shapes; None for a file that is neither, or that holds something else.
    """
    try:
        return _of_safetensors(path) if path.suffix == ".safetensors" else _of_torch(path)
    except Exception:  # what is no such file makes each reader fail in its own way, and is then not listed
        return None


def count_parameters(path: Path) -> int | None:
    """Return the number of numbers in a file of weights; None for a file that cannot be read as one."""
    shapes = read_shapes(path)
    return None if shapes is None else sum(math.prod(shape) for shape in shapes.values())


def _of_safetensors(path: Path) -> Mapping[str, Shape]:
    """Read the header of a file of safetensors."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LONGEST_HEADER:
            raise ValueError("no header")
        header = json.loads(file.read(length))
    return {name: tuple(each["shape"]) for name, each in header.items() if name != "__metadata__"}


def _of_torch(path: Path) -> Mapping[str, Shape]:
    """Read the names and shapes in a file that torch saved, without running code in it."""
    import torch

    document = torch.load(path, map_location="meta", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            document = document[key]
    return {name: tuple(value.shape) for name, value in document.items()}
