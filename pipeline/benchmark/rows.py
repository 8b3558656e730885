"""What a benchmark measures: of an artifact once, and of each setting that it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from serving.model.runtimes.session import Precision, Runtime


@dataclass(frozen=True)
class Facts:
    """What is known of a published artifact before it runs.

    Attributes:
        artifact: Its name.
        runtime: What runs it.
        precision: Of weights and arithmetic.
        max_batch_size: The most inputs that it runs at once; a larger batch is several runs. None for any
            number.
        file_mb: Its file, in MB of 10^6 bytes.
        accuracy: On the whole test split, from its receipt.
        macro_f1: Likewise.
    """

    artifact: str
    runtime: Runtime
    precision: Precision
    max_batch_size: int | None
    file_mb: float
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class ColdStart:
    """What a fresh process takes that loads one artifact through serving and answers once; medians of several.

    Attributes:
        seconds: From opening the bundle to the first answer, with the files in the system's cache. OpenVINO's
            hold importing it, which only its artifacts need.
        peak_rss_mb: The process's largest resident memory in MB of 10^6 bytes, without a GPU's.
    """

    seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Setting:
    """How an artifact is run: so many threads within one run, so many inputs a batch."""

    artifact: str
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Spread:
    """A figure, with the lowest and the highest that a round gave."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """How fast a setting is, from decoded inputs to probabilities, with one caller.

    Attributes:
        setting: Which.
        batches: How many were timed in all rounds together.
        p50_ms: Median milliseconds a batch.
        p90_ms: 90th percentile of all rounds' batches.
        p99_ms: 99th percentile; of fewer than 100 batches hardly more than the slowest.
        samples_per_s: Inputs a second.
        rounds_ms: Each round's median milliseconds a batch; the rounds of all settings are the same.
    """

    setting: Setting
    batches: int
    p50_ms: Spread
    p90_ms: float
    p99_ms: float
    samples_per_s: Spread
    rounds_ms: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """An artifact in one setting; or an artifact that cannot be run here, and why.

    Attributes:
        facts: The artifact.
        cold: Its start; None where it cannot be run.
        timing: Its speed; None where it cannot be run.
        unavailable: Why it cannot be run here; None where it can.
    """

    facts: Facts
    cold: ColdStart | None = None
    timing: Timing | None = None
    unavailable: str | None = None

    def to_json(self) -> dict[str, object]:
        """As one flat JSON object."""
        document = asdict(self.facts)
        if self.cold:
            document |= {"cold_start_s": self.cold.seconds, "peak_rss_mb": self.cold.peak_rss_mb}
        if self.timing:
            document |= _timing_json(self.timing)
        return document | {"unavailable": self.unavailable}


def _timing_json(timing: Timing) -> dict[str, object]:
    return {
        "threads": timing.setting.threads,
        "batch_size": timing.setting.batch_size,
        "batches": timing.batches,
        **_spread_json("p50_ms", timing.p50_ms),
        "p90_ms": timing.p90_ms,
        "p99_ms": timing.p99_ms,
        **_spread_json("samples_per_s", timing.samples_per_s),
    }


def _spread_json(name: str, spread: Spread) -> dict[str, float]:
    return {name: spread.value, f"{name}_low": spread.low, f"{name}_high": spread.high}


def single_runs(rows: Sequence[Row]) -> list[tuple[Row, Timing]]:
    """The rows of the smallest batch that was measured, which is what a request of one input waits for."""
    timed = [(row, row.timing) for row in rows if row.timing]
    least = min((timing.setting.batch_size for _, timing in timed), default=1)
    return [(row, timing) for row, timing in timed if timing.setting.batch_size == least]
