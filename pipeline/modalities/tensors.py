"""The hash of named tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a SHA-256, in hex, over the names, types, shapes and bytes of tensors, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
