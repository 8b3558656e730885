"""How the audit judges samples; each kind of input gives one of these for a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """How to judge a sample's bytes.

    Attributes:
        check: Raises InputRefusedError for what serving would refuse.
        identity: SHA-256, in hex, which two samples share when they are the same to a person.
        settings: JSON of the part of the recipe that the two depend on: when it changes, the data are
            audited again.
    """

    check: Callable[[bytes], None]
    identity: Callable[[bytes], str]
    settings: str = ""
