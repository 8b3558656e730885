"""One row of the table of families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """What became of one family of backbones.

    Attributes:
        family: Name of the family, as its library has it.
        outcome: ``passes``: loaded, tried, trained for a step, exported, and its receipt held. ``refused``:
            an error of one line before any training. ``fails``: anything else, which is a fault.
        seconds: Seconds of the processor until the outcome.
        reason: The error's one line; empty where it passes.
    """

    family: str
    outcome: Literal["passes", "refused", "fails"]
    seconds: float
    reason: str = ""
