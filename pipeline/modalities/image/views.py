"""Views of pictures: the same pictures mirrored and turned, whose answers are averaged."""

from __future__ import annotations

from functools import partial

import torch

from pipeline.errors import GraftError
from pipeline.modalities.training import Batch, View, Views


def views_named(choice: str) -> Views | None:
    """Return the views of the recipe's ``finetune.distill``; None for ``none``.

    Args:
        choice: ``none``, ``mirror``, or ``symmetries``.
    """
    if choice == "none":
        return None
    turns = 1 if choice == "mirror" else 4
    views: list[View] = [
        partial(turn, quarters=quarters, mirror=mirror)
        for quarters in range(turns)
        for mirror in (False, True)
    ]
    what = (
        "each picture and its mirror image" if choice == "mirror" else "the eight symmetries of each picture"
    )
    return Views(what, tuple(views))


def turn(batch: Batch, *, quarters: int, mirror: bool) -> Batch:
    """Return a batch of pictures turned, and then mirrored left to right.

    Args:
        batch: The network's input ``image``, of shape (batch, height, width, 3).
        quarters: Number of quarter turns to the left, from 0 to 3.
        mirror: Whether the pictures are mirrored.

    Raises:
        GraftError: Pictures that are not square are to be turned.
    """
    pixels = batch["image"]
    height, width = pixels.shape[1:3]
    if quarters % 2 and height != width:
        raise GraftError(
            f"finetune.distill: symmetries turns pictures, and the network takes them {width} pixels wide and"
            f" {height} high. Set image.size to make them square, or choose mirror."
        )
    turned = torch.rot90(pixels, quarters, (1, 2))
    return {"image": turned.flip(2) if mirror else turned}
