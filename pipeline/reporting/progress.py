"""Progress with a rate and the time left, as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger("graft")

SHOW_AFTER_S = 2.0
LINE_EVERY_S = 10.0


def track(
    items: Iterable[T], *, total: int, what: str, unit: str, weight: int = 1, later: int = 0
) -> Iterator[T]:
    """Yield the items, and show how far the work is once it takes more than two seconds.

    Args:
        items: The items to go through.
        total: Number of units in all items together.
        what: Name of the work, such as ``"features"``.
        unit: Name of the units, in the plural, such as ``"pictures"``.
        weight: Number of units in an item, such as the batch size.
        later: Number of units that come after these, such as those of later epochs; by default none. Their
            time is told too.
    """
    if not log.isEnabledFor(logging.INFO):  # --quiet, or a process that helps another
        yield from items
    elif sys.stderr.isatty():
        yield from _bar(items, total, what, unit, weight, later)
    else:
        yield from _lines(items, total, what, unit, weight, later)


def in_words(seconds: float) -> str:
    """Return a time for people, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bar(items: Iterable[T], total: int, what: str, unit: str, weight: int, later: int) -> Iterator[T]:
    from tqdm import tqdm

    with tqdm(
        total=total, desc=what, unit=f" {unit}", delay=SHOW_AFTER_S, leave=False, file=sys.stderr
    ) as bar:
        for item in items:
            yield item
            bar.update(min(weight, total - bar.n))
            rate = bar.format_dict["rate"] or bar.n / max(bar.format_dict["elapsed"], 1e-9)
            if later and rate:
                bar.set_postfix_str(f"{in_words((total - bar.n + later) / rate)} left in all", refresh=False)


def _lines(items: Iterable[T], total: int, what: str, unit: str, weight: int, later: int) -> Iterator[T]:
    next_line = time.monotonic() + SHOW_AFTER_S
    start = None  # the rate counts from the first item on, since that may have waited for a model to load
    for index, item in enumerate(items):
        start = start or time.monotonic()
        yield item
        now = time.monotonic()
        if index and now >= next_line and now - start >= 1:
            done = min((index + 1) * weight, total)
            rate = (done - weight) / (now - start)
            in_all = f", {in_words((total - done + later) / rate)} in all" if later else ""
            log.info(
                "%s: %d of %d %s, %.1f/s, %.0f s left%s",
                what, done, total, unit, rate, (total - done) / rate, in_all,
            )  # fmt: skip
            next_line = now + LINE_EVERY_S
