"""The order of versions of Debian packages."""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest

_PARTS = re.compile(r"(\D*)(\d*)")


@total_ordering
class DebianVersion:
    """A version of a Debian package, ordered as dpkg orders them (deb-version(7)).

    Args:
        text: The version, such as ``1:2.36-9+deb12u10``.
    """

    def __init__(self, text: str) -> None:
        epoch, has_epoch, rest = text.partition(":")
        upstream, _, revision = (rest if has_epoch else text).rpartition("-")
        if not upstream:  # there is no revision, which counts as the lowest
            upstream, revision = revision, ""
        self._key = (int(epoch) if has_epoch and epoch.isdigit() else 0, upstream, revision)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._compare(other) == 0

    def __lt__(self, other: DebianVersion) -> bool:
        return self._compare(other) < 0

    def __hash__(self) -> int:
        return hash(self._key)

    def _compare(self, other: DebianVersion) -> int:
        (epoch, *mine), (other_epoch, *theirs) = self._key, other._key
        if epoch != other_epoch:
            return epoch - other_epoch
        parts = (_compare_part(str(left), str(right)) for left, right in zip(mine, theirs, strict=True))
        return next((part for part in parts if part), 0)


def _compare_part(left: str, right: str) -> int:
    """Compare two upstream versions or revisions, piece by piece: text, number, text, number."""
    pairs = zip_longest(_PARTS.findall(left), _PARTS.findall(right), fillvalue=("", ""))
    for (left_text, left_number), (right_text, right_number) in pairs:
        order = _compare_text(left_text, right_text)
        order = order or int(left_number or 0) - int(right_number or 0)
        if order:
            return order
    return 0


def _compare_text(left: str, right: str) -> int:
    """Compare pieces without digits: a tilde comes before the end, then letters, then everything else."""
    for first, second in zip_longest(left, right):
        order = _rank(first) - _rank(second)
        if order:
            return order
    return 0


def _rank(character: str | None) -> int:
    if character is None:
        return 0
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
