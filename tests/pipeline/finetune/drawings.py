"""Drawn pictures whose classes do, or do not, survive a mirror, and the features of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 64
Kind = Literal["left", "right", "bar", "ring"]


def draw(kind: Kind, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a shape anywhere on noise; an arrow that points right is the mirror image of one to the left."""
    noise = np.clip(rng.normal(110, 20, (SIDE_PX, SIDE_PX, 3)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    x, y, r = int(rng.integers(20, 44)), int(rng.integers(20, 44)), int(rng.integers(12, 17))
    colour = tuple(int(value) for value in rng.integers(180, 256, 3))
    if kind == "ring":
        pen.ellipse([x - r, y - r, x + r, y + r], outline=colour, width=4)
    else:
        pen.line([(x - r, y), (x + r, y)], fill=colour, width=4)
    if kind in ("left", "right"):
        back = 1 if kind == "left" else -1
        tip = x - back * r
        pen.polygon([(tip - back * 3, y), (tip + back * 11, y - 9), (tip + back * 11, y + 9)], fill=colour)
    return np.asarray(picture)


def drawn(kinds: tuple[Kind, ...], count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return so many pictures of each kind in turn, and their class indices."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count * len(kinds)) % len(kinds)
    return np.stack([draw(kinds[target], rng) for target in targets]), targets


def features_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return features of timm's small test network with random weights."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        return np.concatenate([network(part).numpy() for part in batch.split(64)])
