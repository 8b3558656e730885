"""The section ``transfer`` of every recipe: what a fine-tuned model is compared with."""

from __future__ import annotations

from pydantic import Field

from pipeline.recipe.data import Section


class Transfer(Section):
    """The opponents that say whether transfer helps.

    Attributes:
        scratch_seconds: Seconds that the same network may train from random weights; 0 leaves it out. The
            longer, the harder it is to beat.
        margin: Difference in accuracy that counts as none, as a share of all samples.
    """

    scratch_seconds: float = Field(default=20.0, ge=0, le=1_000_000)
    margin: float = Field(default=0.05, gt=0, lt=1)
