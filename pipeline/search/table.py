"""The live table of a search: on a terminal redrawn after each trial, elsewhere a line for each."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipeline.search.records import TrialRow, best_of

log = logging.getLogger("graft")
MOST_ROWS = 8
LEAST_WIDTH = 9
STATES = {"done": "", "behind": "ended early", "failed": "failed"}


def shown_values(values: Mapping[str, object]) -> str:
    """Return the values of a trial on one line, by the last parts of their names where these differ."""
    lasts = [name.rpartition(".")[2] for name in values]
    names = lasts if len(set(lasts)) == len(lasts) else list(values)
    return ", ".join(f"{name} {shown(value)}" for name, value in zip(names, values.values(), strict=True))


def shown(value: object) -> str:
    """Return a value for people: numbers to four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Table:
    """What is shown of the trials while a search goes on.

    Args:
        name: Name of the study.
        total: Number of trials that the search is of.
        maximises: Whether a greater value is better.
    """

    def __init__(self, name: str, total: int, *, maximises: bool) -> None:
        self.name = name
        self.total = total
        self.maximises = maximises
        self._told: set[int] = set()
        self._drawn = 0
        self._first = True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Show nothing but the table, bars and warnings within the block, where the table is drawn anew."""
        if not sys.stderr.isatty():
            yield
            return
        log.addFilter(self._lets_through)
        try:
            yield
        finally:
            log.removeFilter(self._lets_through)

    def _lets_through(self, record: logging.LogRecord) -> bool:
        """Return whether a line is shown; the table is then drawn below it."""
        if record.levelno < logging.WARNING:
            return False
        self._drawn = 0
        return True

    def show(self, rows: Sequence[TrialRow]) -> None:
        """Show all trials that are done by now.

        Args:
            rows: The trials, in the order of their places.
        """
        if not log.isEnabledFor(logging.INFO):
            return
        if sys.stderr.isatty():
            self._draw(rows)
        else:
            self._tell(rows)

    def _tell(self, rows: Sequence[TrialRow]) -> None:
        """Log a line for each trial that was not told of."""
        if self._first:
            self._first = False
            self._told = {row.place for row in rows}
            goes_on = f"goes on after {len(rows)} of {self.total}" if rows else f"has {self.total}"
            log.info("search: the study %s %s trials", self.name, goes_on)
            return
        best = best_of(rows, maximises=self.maximises)
        for row in rows:
            if row.place not in self._told:
                self._told.add(row.place)
                value = STATES[row.state] if row.value is None else f"{row.value:.4f} {STATES[row.state]}"
                leader = f"; the best is {best.value:.4f} of trial {best.place}" if best else ""
                log.info(
                    "search: trial %d: %s (%s)%s", row.place, value.strip(), shown_values(row.values), leader
                )

    def _draw(self, rows: Sequence[TrialRow]) -> None:
        """Draw the best trials and the last one over what was drawn before."""
        width = shutil.get_terminal_size().columns
        lines = [line[: width - 1] for line in table_lines(rows, self.total, maximises=self.maximises)]
        over = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        sys.stderr.write(over + "".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._drawn = len(lines)


def table_lines(rows: Sequence[TrialRow], total: int, *, maximises: bool) -> list[str]:
    """Return the lines of the table: how far the search is, the best trials, and the last one.

    Args:
        rows: The trials that are done.
        total: Number of trials that the search is of.
        maximises: Whether a greater value is better.
    """
    filled = round(24 * len(rows) / max(1, total))
    seconds = sum(row.seconds for row in rows)
    bar = f"[{'#' * filled}{'.' * (24 - filled)}]"
    head = f"search  {bar} {len(rows)} of {total} trials, {seconds:.1f} s of work"
    done = [row for row in rows if row.value is not None and row.state == "done"]
    done.sort(key=lambda row: (-(row.value or 0) if maximises else row.value or 0, row.place))
    shown_rows = done[:MOST_ROWS]
    names = [name.rpartition(".")[2] for name in (rows[0].values if rows else {})]
    widths = [max(LEAST_WIDTH, len(name)) for name in names]
    cells = [f"{name:>{width}}" for name, width in zip(names, widths, strict=True)]
    lines = [head, "  ".join([f"{'trial':>7}", f"{'value':>8}", *cells])]
    lines += [_line("*" if index == 0 else " ", row, widths) for index, row in enumerate(shown_rows)]
    if rows and rows[-1] not in shown_rows:
        lines.append(_line("-", rows[-1], widths))
    return lines


def _line(mark: str, row: TrialRow, widths: Sequence[int]) -> str:
    value = "failed" if row.value is None else f"{row.value:.4f}"
    values = zip(row.values.values(), widths, strict=True)
    cells = [f"{shown(each):>{width}.{width}}" for each, width in values]
    return "  ".join([f"{mark} {row.place:>5}", f"{value:>8}", *cells, STATES[row.state]]).rstrip()
