"""Patterns over paths, such as ``{split}/{label}/**``: where a path names split, label and group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import DataError

FIELDS: Final = ("split", "label", "group")
TOKEN: Final = re.compile(r"\*\*/|/\*\*$|\*\*|\*|#|\{(\w*)\}|[^*#{]+|\{")


@dataclass(frozen=True)
class Found:
    """What a path says of its file.

    Attributes:
        split: What stands in the place of the split; None where the pattern has none.
        label: What stands in the place of the label; None where the pattern has none.
        group: What stands in the place of the group; None where the pattern has none.
    """

    split: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Pattern:
    """A pattern over paths relative to a folder.

    ``*`` stands for any characters of one folder's or file's name, ``#`` for digits, ``**`` for any number
    of folders and what is in them, and ``{split}``, ``{label}`` and ``{group}`` for the part of a name that
    says so.

    Attributes:
        text: The pattern as it is written.
        expression: The same as a regular expression over POSIX paths.
    """

    text: str
    expression: re.Pattern[str]

    def match(self, path: str) -> Found | None:
        """Return what a path says, or None where it does not fit.

        Args:
            path: Path relative to the folder, with ``/`` between names.
        """
        found = self.expression.fullmatch(path)
        return Found(**found.groupdict()) if found else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The places that the pattern has, of ``split``, ``label`` and ``group``."""
        return tuple(self.expression.groupindex)


def read_pattern(text: str, key: str, needed: Sequence[str] = ()) -> Pattern:
    """Return a pattern that a recipe writes.

    Args:
        text: The pattern.
        key: Key of the recipe that holds it, for the error.
        needed: Places that it must have.

    Raises:
        DataError: It names an unknown place, one place twice, or lacks one that is needed.
    """
    fields = re.findall(r"\{(\w*)\}", text)
    wrong = [name for name in fields if name not in FIELDS]
    missing = [name for name in needed if name not in fields]
    if wrong or missing or len(set(fields)) != len(fields):
        faults = [f"`{{{name}}}` is no place" for name in wrong] or [
            f"`{{{name}}}` is missing" for name in missing
        ]
        fault = "; ".join(faults) or "one place stands in it twice"
        raise DataError(
            f"{key}: {text!r} is no pattern over paths ({fault}). Write folders and file names with * and ** "
            "for what varies, # for digits, and {split}, {label} or {group} for what they say, "
            "such as {split}/{label}/**."
        )
    return Pattern(text, re.compile("".join(map(_as_expression, TOKEN.finditer(text))), re.DOTALL))


def _as_expression(token: re.Match[str]) -> str:
    """Return the regular expression of one token of a pattern."""
    written = token.group()
    if token.group(1) is not None:
        return f"(?P<{token.group(1)}>[^/]+?)"
    fixed = {"**/": "(?:.*/)?", "/**": "/.+", "**": ".+", "*": "[^/]*", "#": r"\d+"}
    return fixed.get(written) or re.escape(written)


def literal(name: str) -> str:
    """Return a folder's name as a pattern: itself, or ``*`` where it has characters that patterns use."""
    return "*" if re.search(r"[*#{}]", name) else name
