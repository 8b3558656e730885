"""Division by time: the oldest samples train, the newest test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from pipeline.data.splits.hashed import Shares
from pipeline.data.splits.member import Member
from pipeline.errors import DataError
from pipeline.recipe.data import Split
from pipeline.reporting.printable import listing, printable


def divide_by_time(members: Sequence[Member], shares: Shares) -> list[Split]:
    """Return the split of each sample: the newest are ``test``, those before them ``validation``.

    Samples of one time stay together, in the older split.

    Args:
        members: The samples, each with its time: numbers, or dates and times of ISO 8601.
        shares: The shares of ``test`` and ``validation``.

    Raises:
        DataError: A time cannot be read, or some are numbers and others dates.
    """
    times = read_times([member.time or "" for member in members])
    ordered = sorted(times)
    newest = _boundary(ordered, shares.get("test", 0.0))
    middle = _boundary(ordered, shares.get("test", 0.0) + shares.get("validation", 0.0))
    return ["test" if time > newest else "validation" if time > middle else "train" for time in times]


def _boundary(ordered: Sequence[float], share: float) -> float:
    """Return the time after which about a share of the samples is."""
    return ordered[max(0, len(ordered) - 1 - round(share * len(ordered)))]


def read_times(values: Sequence[str]) -> list[float]:
    """Return times as numbers in one unit.

    Raises:
        DataError: A value is neither a number nor a date, or some are numbers and others dates.
    """
    for read in (float, _from_iso):
        times, wrong = [], []
        for value in values:
            try:
                times.append(read(value.strip()))
            except ValueError:
                wrong.append(value)
        if not wrong:
            return times
        if len(wrong) < len(values):
            break
    raise DataError(
        f"data.split_by_time: {len(wrong):,} value(s) are no times like the others:\n"
        f"{listing(repr(printable(value)) for value in wrong)}\n"
        "Write all of them as numbers, or all as ISO 8601, such as 2026-03-01T12:00."
    )


def _from_iso(value: str) -> float:
    time = dt.datetime.fromisoformat(value)
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()
