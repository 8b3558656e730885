"""Division by time: the oldest samples train, the newest test."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.data.splits.cut import Cut, Floats, Integers
from pipeline.errors import DataError
from pipeline.reporting.printable import listing, printable


def divide_by_time(times: Floats, cut: Cut) -> Integers:
    """Return the column of the split of each sample: the newest are ``test``, those before ``validation``.

    Samples of one time stay together. Of the places between two times, those nearest to the shares are taken.

    Args:
        times: Time of each sample in any unit, of shape (samples,).
        cut: The splits, in the order from the newest to the oldest.

    Raises:
        DataError: There are fewer different times than splits.
    """
    values, counts = np.unique(times, return_counts=True)
    splits = len(cut.splits)
    if len(values) < splits:
        raise DataError(
            f"data.split_by_time: the samples have only {len(values)} different time(s), and {splits} splits "
            "need one each. Name a column of finer times, or remove data.split_by_time."
        )
    newer = np.cumsum(counts[::-1])  # number of samples of the newest times, by the number of these times
    taken, begins = 0, []
    for split, edge in enumerate(cut.edges * len(times)):
        last = len(values) - (splits - split - 1)  # each split that follows needs a time
        places = np.arange(taken + 1, last + 1)
        taken = int(places[np.abs(newer[places - 1] - edge).argmin()])
        begins.append(values[len(values) - taken])
    return np.searchsorted(-np.array(begins), -times, side="left").astype(np.int64)


def read_times(values: Sequence[str | None]) -> Floats:
    """Return times as numbers in one unit.

    Args:
        values: Times as the data have them: all numbers, or all dates and times of ISO 8601.

    Raises:
        DataError: A time is missing or cannot be read, or the times are not all of one form.
    """
    different = list(dict.fromkeys(values))
    forms: tuple[Callable[[str], float], ...] = (_from_number, _from_plain_iso, _from_iso_with_zone)
    outcomes = [{value: _try(form, value) for value in different} for form in forms]
    best = min(outcomes, key=lambda outcome: sum(time is None for time in outcome.values()))
    wrong = {value for value, time in best.items() if time is None}
    if wrong:
        count = sum(value in wrong for value in values)
        shown = [
            "(none)" if value is None else repr(printable(value)) for value in different if value in wrong
        ]
        raise DataError(
            f"data.split_by_time: {count:,} of {len(values):,} samples have no time like the others':\n"
            f"{listing(shown)}\n"
            "Write all of them as numbers, or all as ISO 8601, such as 2026-03-01T12:00, with or without a "
            "time zone."
        )
    return np.array([best[value] for value in values], dtype=np.float64)


def _try(form: Callable[[str], float], value: str | None) -> float | None:
    try:
        return form((value or "").strip())
    except (ValueError, OverflowError):
        return None


def _from_number(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _from_plain_iso(value: str) -> float:
    time = dt.datetime.fromisoformat(value)
    if time.tzinfo is not None:
        raise ValueError(value)
    return time.replace(tzinfo=dt.UTC).timestamp()


def _from_iso_with_zone(value: str) -> float:
    time = dt.datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(value)
    return time.timestamp()
