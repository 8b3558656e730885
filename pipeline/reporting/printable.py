"""Text from data, made fit for one line of a message, a log or a comment."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 80
LISTED = 10
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, with an escape for each character that nobody would see.

    Args:
        text: Any text, such as a label, a value of a table or a path.
        longest: Number of characters after which it is cut.
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in INVISIBLE
        else character
        for character in text[: longest + 1]
    )
    return shown if len(text) <= longest else shown[: longest - 1] + "…"


def listing(lines: Iterable[str], total: int | None = None) -> str:
    """Return the first of some lines, indented, and how many more there are.

    Args:
        lines: The lines.
        total: Number of all lines, where not all of them are given.
    """
    given: Sequence[str] = list(lines)
    more = (len(given) if total is None else total) - min(len(given), LISTED)
    end = [f"  … and {more:,} more"] if more else []
    return "\n".join([*(f"  {line}" for line in given[:LISTED]), *end])
