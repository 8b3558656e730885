"""Checkpoints as files: safetensors, with a JSON document and a checksum in the header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from pipeline.files import atomic
from pipeline.finetune.resuming.tree import Tree, flatten, rebuild
from pipeline.modalities.tensors import hash_tensors

SUFFIX = ".safetensors"


class DamagedError(Exception):
    """A checkpoint that cannot be read, or whose content is not what was written."""


def write_tree(path: Path, tree: Tree) -> None:
    """Write a tree of JSON values and tensors, so that no crash leaves half of it or loses it afterwards.

    Args:
        path: The file, which is replaced in one step; its folder is made if it is missing.
        tree: The tree.

    Raises:
        OSError: It cannot be written, such as on a full disk; nothing is left of it.
    """
    atomic.write_bytes(path, pack(tree))
    atomic.sync(path.parent)


def read_tree(path: Path) -> Tree:
    """Read a tree back, and check it.

    Args:
        path: The file.

    Raises:
        DamagedError: It is not there, cannot be read, or is not as it was written; the message says which.
    """
    try:
        return unpack(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DamagedError as error:
        raise DamagedError(f"{path}: {error}") from error


def pack(tree: Tree) -> bytes:
    """Return a tree as the content of a file."""
    from safetensors.torch import save

    document, tensors = flatten(tree)
    text = json.dumps(document)
    return save(tensors, {"document": text, "sha256": _checksum(text, tensors)})


def unpack(data: bytes) -> Tree:
    """Return the tree that :func:`pack` packed.

    Raises:
        DamagedError: It is not as it was packed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        text, checksum = header["document"], header["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"is damaged ({error})") from error
    if _checksum(text, tensors) != checksum:
        raise DamagedError("is damaged (its checksum is wrong)")
    tree: Tree = rebuild(json.loads(text), tensors)
    return tree


def read_document(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Return a checkpoint's JSON document alone, in which names stand for tensors, without a check.

    Args:
        path: The file.

    Raises:
        DamagedError: It has none.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["document"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise DamagedError(f"{path}: cannot be read ({error})") from error


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256, in hex, of a document and its tensors."""
    return hashlib.sha256(f"{text}\n{hash_tensors(tensors)}".encode()).hexdigest()
