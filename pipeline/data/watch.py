"""An eye on the texts of a table: those that may be several rows merged by a quote, and the longest."""

from __future__ import annotations

import heapq

from pipeline.reporting.printable import listing, printable

LONGEST = 3
KEPT = 10
SHOWN = 60


class TextWatch:
    """Looks at the texts of a table one by one, and tells at the end what a person should look at."""

    def __init__(self) -> None:
        self._merged = 0
        self._examples: list[str] = []
        self._longest: list[tuple[int, str]] = []

    def see(self, text: str, separator: str, place: str) -> None:
        """Look at a text.

        Args:
            text: The text.
            separator: What stands between the values of its table; empty where nothing does.
            place: Where it stands, such as ``train.csv, line 17``.
        """
        if separator and separator in text and ("\n" in text or "\r" in text):
            self._merged += 1
            if len(self._examples) < KEPT:
                self._examples.append(f"{place}: {printable(text, SHOWN)}")
        if len(self._longest) < LONGEST:
            heapq.heappush(self._longest, (len(text), place))
        elif len(text) > self._longest[0][0]:
            heapq.heapreplace(self._longest, (len(text), place))

    def finish(self) -> list[str]:
        """Return what there is to tell."""
        told = []
        if self._merged:
            told.append(
                f"{self._merged:,} text(s) hold a separator and a line break, as rows do that a quote has "
                f"merged (if so: data.table.quoting: none):\n{listing(self._examples, self._merged)}"
            )
        longest = ", ".join(f"{place} ({size:,} characters)" for size, place in sorted(self._longest)[::-1])
        return [*told, f"the longest texts: {longest}"] if longest else told
