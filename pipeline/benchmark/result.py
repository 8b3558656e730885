"""What a benchmark found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.benchmark.recommend import Recommendation
from pipeline.benchmark.rows import ColdStart, Facts, Row, Spread, Timing

HEADINGS = (
    "artifact",
    "threads",
    "batch",
    "p50 ms",
    "[low, high]",
    "p90 ms",
    "p99 ms",
    "samples/s",
    "[low, high]",
)
FACTS = ("accuracy", "macro F1", "file MB", "memory MB", "cold start s")


@dataclass(frozen=True)
class Result:
    """A benchmark's rows, what follows from them, and how they were measured.

    Attributes:
        run: The run's folder.
        measured_on: The CPU, and the GPU where the recommended artifact runs on one.
        rounds: How often each setting was timed.
        samples: How many inputs of the test split were used.
        rows: Each artifact in each setting.
        recommended: The settings to serve with on this machine.
        plot: The plot's place.
        defaults: The place of the settings, where serving finds them.
    """

    run: Path
    measured_on: str
    rounds: int
    samples: int
    rows: Sequence[Row]
    recommended: Recommendation
    plot: Path
    defaults: Path

    def to_json(self) -> dict[str, object]:
        """The result as JSON; times in ms and s, sizes in MB of 10^6 bytes."""
        return {
            "run": str(self.run),
            "measured_on": self.measured_on,
            "rounds": self.rounds,
            "samples": self.samples,
            "rows": [row.to_json() for row in self.rows],
            "recommended": asdict(self.recommended),
            "plot": str(self.plot),
            "defaults": str(self.defaults),
        }

    def to_text(self) -> str:
        """The result as a table, and lines below it."""
        lines = _align(
            [
                (*HEADINGS, *FACTS),
                *(_cells(row.timing, row.cold, row.facts) for row in self.rows if row.timing and row.cold),
            ]
        )
        lines += [
            f"{row.facts.artifact}: cannot be run here: {row.unavailable}"
            for row in self.rows
            if row.unavailable
        ]
        alone = dict.fromkeys(
            row.facts.artifact for row in self.rows if row.timing and row.facts.max_batch_size == 1
        )
        lines += [f"{name}: runs one input at a time, a batch one after another" for name in alone]
        return "\n".join(
            [
                *lines,
                "",
                f"measured     {self.measured_on}; {self.rounds} rounds, {self.samples} test inputs; decoding is not in the times",
                f"recommended  {self.recommended.artifact}, threads {self.recommended.threads}: {self.recommended.why}",
                f"written      {self.defaults}, which `graft serve {self.run}` follows; {self.plot}",
            ]
        )


def _cells(timing: Timing, cold: ColdStart, facts: Facts) -> tuple[str, ...]:
    return (
        facts.artifact,
        str(timing.setting.threads),
        str(timing.setting.batch_size),
        *_spread(timing.p50_ms),
        _figure(timing.p90_ms),
        _figure(timing.p99_ms),
        *_spread(timing.samples_per_s),
        f"{facts.accuracy:.4f}",
        f"{facts.macro_f1:.4f}",
        _figure(facts.file_mb),
        f"{cold.peak_rss_mb:.0f}",
        f"{cold.seconds:.2f}",
    )


def _spread(spread: Spread) -> tuple[str, str]:
    return _figure(spread.value), f"[{_figure(spread.low)}, {_figure(spread.high)}]"


def _figure(value: float) -> str:
    """Three digits or more, never an exponent."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
