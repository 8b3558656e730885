"""Recordings of loudness, one byte a moment, as a wheel of somebody else's brings them: serving's side."""

from __future__ import annotations

from typing import Literal

import numpy as np

from serving.model.errors import InputRefusedError
from serving.model.inputs.item import Item
from serving.model.inputs.kind import BytesTensor, FileBody, FileControl, InputKind, InputSpec

BINS = 16


class LevelInputSpec(InputSpec):
    modality: Literal["level"] = "level"


class LevelPreprocessor:
    def decode(self, data: bytes) -> Item:
        """Shares of 16 ranges of loudness, float32 of shape (16,)."""
        if not data:
            raise InputRefusedError("no_level", "The recording is empty.")
        counts = np.bincount(np.frombuffer(data, np.uint8) // (256 // BINS), minlength=BINS)
        return Item((counts / len(data)).astype(np.float32))

    def collate(self, arrays):
        return {"level": np.stack(arrays)}

    def blank(self):
        return np.zeros(BINS, np.float32)


LEVEL = InputKind(
    name="level",
    noun="recording",
    plural="recordings",
    invitation="Give it a recording.",
    max_body_bytes=1024,
    body=FileBody("level", "levels", "application/octet-stream", b"\0\1"),
    tensors=(BytesTensor(is_text=False),),
    control=FileControl("application/octet-stream"),
    spec=LevelInputSpec,
    open_preprocessor=lambda spec, folder: LevelPreprocessor(),
)
