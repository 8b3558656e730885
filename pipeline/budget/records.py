"""The record of a budget: each figure that was measured, and its limit."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import GateFailedError
from pipeline.files.records import Record, VersionedRecord


class Figure(Record):
    """One measured figure.

    Attributes:
        name: Name of the figure, as the recipe's section ``budget`` has it.
        value: The figure; None if it could not be measured.
        unit: Its unit.
        limit: Its limit; None if the recipe sets none.
        note: What else is to be known: the range over repetitions, names, or why it was not measured.
        failed: Whether it has no value because the container itself failed, and not for want of means.
    """

    name: str
    value: float | None
    unit: str
    limit: float | None = None
    note: str = ""
    failed: bool = False

    def measured(self) -> str:
        """Return the value with its unit, for people: with as many digits as tell it from its limit."""
        if self.value is None:
            return "not measured"
        digits = 4
        while self.value != self.limit and float(f"{self.value:.{digits}g}") == self.limit:
            digits += 1
        return f"{self.value:,.{digits}g} {self.unit}".rstrip()

    @property
    def passed(self) -> bool:
        """Whether it is within its limit. What has a limit and could not be measured is not.

        Nor is what could not be measured because the container failed, whether it has a limit or not.
        """
        if self.failed:
            return False
        return self.limit is None or (self.value is not None and self.value <= self.limit)


class BudgetRecord(VersionedRecord):
    """All figures of one image.

    Attributes:
        image: Digest of the image.
        machine: Name of the CPU that it was measured on.
        figures: The figures.
        vulnerabilities: Known vulnerabilities, one line each.
    """

    image: str
    machine: str
    figures: tuple[Figure, ...]
    vulnerabilities: tuple[str, ...] = ()

    def require_passed(self, place: Path) -> None:
        """Raise GateFailedError if a figure is above its limit.

        Args:
            place: The run's folder.
        """
        over = [figure for figure in self.figures if not figure.passed]
        if over:
            lines = "\n".join(f"  {_line(figure)}" for figure in over)
            raise GateFailedError(
                f"{place}: {len(over)} figure(s) above the recipe's budget, or failed:\n{lines}\n"
                "Mend the image, or change the section `budget`."
            )

    def to_text(self) -> str:
        """Return the figures as a table for people."""
        width = max(len(figure.name) for figure in self.figures)
        lines = [f"{figure.name:<{width}}  {_line(figure).split(': ', 1)[1]}" for figure in self.figures]
        return "\n".join([*lines, *(f"  {line}" for line in self.vulnerabilities)])


def _line(figure: Figure) -> str:
    value = figure.measured()
    limit = "" if figure.limit is None else f", at most {figure.limit:,g}"
    sign = "" if figure.limit is None else ("  ok" if figure.passed else "  ABOVE")
    sign = "  FAILED" if figure.failed else sign
    note = f"  ({figure.note})" if figure.note else ""
    return f"{figure.name}: {value}{limit}{sign}{note}"
