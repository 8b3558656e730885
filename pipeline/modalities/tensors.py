"""Named tensors, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hex, over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{value.dtype}\t{tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
