"""What every kind of input is decoded to: one array an item, and named arrays a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.model.schemas import Truncation

Feeds = dict[str, NDArray[Any]]
"""One batch: arrays by the names of the model's inputs, whose first dimension is the batch."""


@dataclass(frozen=True)
class Item:
    """One decoded input.

    Attributes:
        array: The array that the model gets, without the batch's dimension: uint8 of shape (height, width, 3)
            for a picture, int64 of shape (tokens,) for a text.
        truncation: What was cut off the input, or None if all of it was used.
    """

    array: NDArray[Any]
    truncation: Truncation | None = None


class Preprocessor(Protocol):
    """Turns request bytes into model input; thread-safe, and shared by training and serving."""

    def decode(self, data: bytes) -> Item:
        """Decode one input; raises InputRefusedError."""
        ...

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """Combine decoded arrays into one batch, padded to a common shape."""
        ...

    def blank(self) -> NDArray[Any]:
        """Return a decoded array with which a session can be warmed up."""
        ...
