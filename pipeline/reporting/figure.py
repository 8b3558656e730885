"""Figures of matplotlib, made so that nothing is written outside Graft's cache."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from pipeline.files.layout import cache_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f6feb", "#d9622b", "#2da44e", "#8b949e"
DPI = 110


def make_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure.

    What matplotlib keeps, such as its list of this machine's fonts, goes into Graft's cache instead of two
    folders under HOME. It reads the variable when it is imported; a value that the user has set is left as it
    is.

    Args:
        width_in: Width in inches.
        height_in: Height in inches.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
