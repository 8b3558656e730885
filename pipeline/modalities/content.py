"""The way in which the audit judges samples, which each kind of input gives for a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """The two questions that the audit asks of a sample's bytes.

    Attributes:
        check: Raises InputRefusedError for bytes that serving would refuse.
        identity: Returns a SHA-256, in hex, which two samples share when they are the same to a person.
        settings: JSON of the part of the recipe that the two depend on: when it changes, the data are
            audited again. Empty, the default, where they depend on none.
    """

    check: Callable[[bytes], None]
    identity: Callable[[bytes], str]
    settings: str = ""
