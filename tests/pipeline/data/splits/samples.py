"""Samples to be divided."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from pipeline.data.splits.member import Division, Member
from pipeline.files.samples import Split
from pipeline.recipe.data import Data, Splits

PLAIN = Data(source="x")
GROUPED = Data(source="x", group_by="patient")
TIMED = Data(source="x", split_by_time="when")
THREE = {"train", "validation", "test"}


def recipe(**splits: object) -> Data:
    return Data(source="x", splits=Splits.model_validate(splits))


def identity(*names: object) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()


def classes(sizes: Sequence[int], **fields: object) -> list[Member]:
    """As many samples of each class as a list says."""
    return [
        Member(f"{label:04x}{number:06x}", f"label{label:03}", **fields)
        for label, size in enumerate(sizes)
        for number in range(size)
    ]


def counts(members: Sequence[Member], division: Division) -> Counter[tuple[str, Split]]:
    """Number of samples of each label in each split."""
    return Counter(zip((member.label for member in members), division.splits, strict=True))


def by_identity(members: Sequence[Member], division: Division) -> dict[str, Split]:
    return dict(zip((member.identity for member in members), division.splits, strict=True))
