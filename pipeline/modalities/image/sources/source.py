"""What a library of networks has to give, so that its networks are fine-tuned as timm's are."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from torch import nn


class NetworkSource(Protocol):
    """A module of this room, as the rest of the kind sees it.

    The networks have the part of timm's interface that :class:`~pipeline.modalities.image.network
    .ImageClassifier` uses: ``forward_features``, ``forward_head`` with ``pre_logits``, ``get_classifier``,
    ``reset_classifier`` and ``pretrained_cfg``. One that does not have it by itself is put into a
    :class:`~pipeline.modalities.image.pooled.PooledNetwork`.
    """

    def create(self, name: str, classes: int | None = None, size_px: int | None = None) -> nn.Module:
        """Create a network with random weights.

        Args:
            name: Name of the architecture, without the source's prefix.
            classes: Number of outputs of the head; None, the default, for as many as the pretrained weights
                have.
            size_px: Side of the pictures in pixels, for networks that are made for one size, whose
                ``pretrained_cfg`` then has it as its ``input_size``; the others disregard it. None, the
                default, for the side that it was pretrained with.

        Raises:
            GraftError: There is no such network (the nearest names are listed), or it cannot take that size.
        """
        ...

    def create_pretrained(self, name: str, size_px: int | None = None) -> nn.Module:
        """Create a network with the weights that the source itself has for it, in evaluation mode.

        Args:
            name: Name of the architecture, without the source's prefix.
            size_px: Side of the pictures in pixels, as for :meth:`create`.

        Raises:
            GraftError: There is no such network, its weights cannot be had here, or do not fit that size.
        """
        ...


@runtime_checkable
class FileSource(Protocol):
    """What a source adds whose files are not those of its networks as the rest of the kind sees them."""

    def create_from(
        self, name: str, weights: str, mapping: Literal["names", "order"], size_px: int | None = None
    ) -> nn.Module:
        """Create a network with the weights of a file, in evaluation mode.

        Args:
            name: Name of the architecture, without the source's prefix.
            weights: Path of the file, or ``package:NAME/PATH``.
            mapping: Whether names or their order say where a tensor belongs.
            size_px: Side of the pictures in pixels, as for :meth:`NetworkSource.create`.

        Raises:
            GraftError: There is no such network or file, or the two do not fit.
        """
        ...
