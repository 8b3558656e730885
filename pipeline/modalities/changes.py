"""A random change of training samples that may take their label away, and so has to be tried first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A change that turns a sample into its counterpart, and the counterpart into the sample.

    Attributes:
        key: Place of the choice in the recipe, such as ``finetune.augment.horizontal_flip``.
        name: What people call the change, such as ``mirroring left to right``.
        wish: What the recipe says; None where labels and a trial are to decide.
        forbidden: Returns why samples with these labels must not be changed so, as a part of a sentence that
            follows "since"; None where the labels say nothing.
        apply: Returns the kind's examples with all samples changed.
        decide: Returns the kind's examples with the change among the random ones, or not.
    """

    key: str
    name: str
    wish: bool | None
    forbidden: Callable[[Sequence[str]], str | None]
    apply: Callable[[Any], Any]
    decide: Callable[[Any, bool], Any]
