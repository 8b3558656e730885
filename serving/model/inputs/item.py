"""What every kind of input becomes: one array an item, and named arrays a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.model.schemas import Truncation

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Item:
    """One decoded input.

    Attributes:
        array: uint8 (H, W, 3) of a picture, int64 (tokens,) of a text.
        truncation: What was cut off, if anything.
    """

    array: NDArray[Any]
    truncation: Truncation | None = None


class Preprocessor(Protocol):
    """From request bytes to model input; training, verification and serving share it. Safe to call from several threads."""

    def decode(self, data: bytes) -> Item:
        """Decode one input; raises InputRefusedError."""
        ...

    def collate(self, arrays: Sequence[NDArray[Any]]) -> Feeds:
        """One batch of decoded arrays, padded to one shape, by the names of the model's inputs."""
        ...

    def blank(self) -> NDArray[Any]:
        """A decoded array to warm a session up with."""
        ...
