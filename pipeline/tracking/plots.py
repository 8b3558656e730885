"""The plots of a report, taken from its page."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from html.parser import HTMLParser

PREFIX = "data:image/png;base64,"


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: What the page calls it.
        png: The bytes of the PNG file.
    """

    name: str
    png: bytes

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, as the file's header has them."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


class _Plots(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.plots: list[Plot] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        source = values.get("src") or ""
        if tag == "img" and values.get("class") == "plot" and source.startswith(PREFIX):
            png = base64.b64decode(source.removeprefix(PREFIX))
            self.plots.append(Plot(values.get("alt") or "plot", png))


def plots_of(page: str) -> tuple[Plot, ...]:
    """Return the plots of a page, in their order.

    Args:
        page: The HTML of a report, in which plots are inline PNG files of the class ``plot``.
    """
    parser = _Plots()
    parser.feed(page)
    return tuple(parser.plots)
