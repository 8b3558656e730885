"""The reason that a foreign library gives for a failure, in one line that people can read."""

from __future__ import annotations

import re

LONGEST = 200
# Colours and other codes of a terminal (ECMA-48), which rich errors of exporters are full of.
_TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def reason_of(error: BaseException) -> str:
    """Return the first line of an error that says something, without codes of a terminal.

    Args:
        error: Any error, of whose message there may be none, or a thousand lines.

    Returns:
        At most 200 characters on one line; the name of the error's class where it says nothing.
    """
    lines = (_printable(line) for line in _TERMINAL_CODES.sub("", str(error)).splitlines())
    line = next((line for line in lines if any(letter.isalnum() for letter in line)), type(error).__name__)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _printable(line: str) -> str:
    """Return a line with one space in place of each run of spaces and of what cannot be printed."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
