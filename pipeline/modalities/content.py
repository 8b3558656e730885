"""The way in which the audit judges samples, which each kind of input gives for a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """What the audit of a whole set of samples needs to know of one of them.

    Attributes:
        spread: Difference of the sample's greatest and least value once it is decoded, in levels of 255; of a
            part of the sample, where that shows something.
        low: Least value in the sample's file, if the file is deeper than what the model gets; None, the
            default, otherwise.
        high: Greatest such value; None, the default, where there is no ``low``.
        range_width: Width of the range of values that the file's type can have; None, the default, where
            there is no ``low`` or the type has no such range.
    """

    spread: float
    low: float | None = None
    high: float | None = None
    range_width: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one pass over a sample's bytes finds.

    Attributes:
        identity: SHA-256, of 32 bytes, which two samples share when they are the same to a person.
        facts: What a review of all samples needs to know; None, the default, where there is no review.
    """

    identity: bytes
    facts: Facts | None = None


@dataclass(frozen=True)
class Review:
    """What the samples have to be told of when they are seen together.

    Attributes:
        remarks: What is odd about a sample that is kept, by its source; nothing by default.
        warnings: Whole sentences about all samples; none by default.
    """

    remarks: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def _review_nothing(_: Mapping[str, Facts]) -> Review:
    return Review()


@dataclass(frozen=True)
class Content:
    """The questions that the audit asks of a sample's bytes.

    Attributes:
        check: Raises InputRefusedError for bytes that serving would refuse.
        identity: Returns a SHA-256, in hex, which two samples share when they are the same to a person.
        settings: JSON of the part of the recipe that they depend on: when it changes, the data are audited
            again. Empty, the default, where they depend on none.
        judge_once: Does what ``check`` and ``identity`` do in one pass, and adds facts; None, the default,
            where the two are as cheap apart.
        review: Judges the facts of all samples together, by their sources. It raises DataError, with the
            remedy, for samples on which no model should be trained. By default it finds nothing.
    """

    check: Callable[[bytes], object]
    identity: Callable[[bytes], str]
    settings: str = ""
    judge_once: Callable[[bytes], Judgement] | None = None
    review: Callable[[Mapping[str, Facts]], Review] = _review_nothing

    def judge(self, data: bytes) -> Judgement:
        """Judge the bytes of one sample.

        Raises:
            InputRefusedError: Serving would refuse them.
        """
        if self.judge_once is not None:
            return self.judge_once(data)
        self.check(data)
        return Judgement(bytes.fromhex(self.identity(data)))
