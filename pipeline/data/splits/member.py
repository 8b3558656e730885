"""What the division into splits needs of a sample, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.recipe.data import Split


@dataclass(frozen=True, slots=True)
class Member:
    """A sample, as the division sees it.

    Attributes:
        identity: Hash of the content, in hexadecimal. No two samples share it.
        label: Name of the class.
        strata: Values of the columns whose mix every split keeps; none by default.
        group: Name of the group that stays in one split; None, the default, for a sample on its own.
        time: Value of the column of times; None, the default, for none.
        given: The split that the data name; None, the default, where they name none.
    """

    identity: str
    label: str
    strata: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    given: Split | None = None


@dataclass(frozen=True)
class Division:
    """The splits of some samples.

    Attributes:
        splits: The split of each sample, in their order.
        remarks: What people must be told, one sentence each.
    """

    splits: list[Split]
    remarks: tuple[str, ...] = ()
