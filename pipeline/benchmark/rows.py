"""The figures of a benchmark: those of an artifact, and those of each setting that it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from serving.model.runtimes.session import Precision, Runtime


@dataclass(frozen=True)
class Facts:
    """The facts that are known of a published artifact before it runs.

    Attributes:
        artifact: Name of the artifact.
        runtime: The runtime that runs it.
        precision: Precision of its weights and arithmetic.
        max_batch_size: The most inputs that it runs at once; a larger batch is several runs. None for any
            number.
        file_mb: Size of its files, in MB of 10^6 bytes.
        accuracy: Accuracy on the whole test split, in [0, 1], from its receipt.
        macro_f1: Macro F1 on the whole test split, in [0, 1], from its receipt.
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
    """The cost for a fresh process to load one artifact through serving and to answer once.

    Attributes:
        seconds: Seconds from opening the bundle to the first answer, with the files in the system's cache.
            For an artifact of OpenVINO they include importing that library, which no other artifact needs.
        peak_rss_mb: Largest resident memory of the process in MB of 10^6 bytes, without that of a GPU.
    """

    seconds: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Setting:
    """How an artifact is run.

    Attributes:
        artifact: Name of the artifact.
        threads: Threads within one run.
        batch_size: Inputs in a batch.
    """

    artifact: str
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Spread:
    """A figure with its range over the rounds.

    Attributes:
        value: The figure.
        low: The lowest that a round gave.
        high: The highest that a round gave.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """How fast a setting is, from decoded inputs to probabilities, with one caller.

    Attributes:
        setting: The artifact, thread count and batch size that were measured.
        batches: Number of batches that were timed in all rounds together.
        p50_ms: Median time of a batch, in milliseconds.
        p90_ms: 90th percentile of the batches of all rounds, in milliseconds.
        p99_ms: 99th percentile, in milliseconds; of fewer than 100 batches hardly more than the slowest.
        samples_per_s: Speed in inputs a second.
        rounds_ms: Median time of a batch in each round, in milliseconds. The rounds of all settings of one
            batch size are the same.
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
        facts: The facts that are known of the artifact.
        cold: Its cold start; None if it cannot be run here.
        timing: Its speed; None if it cannot be run here.
        unavailable: The reason why it cannot be run here; None if it can.
    """

    facts: Facts
    cold: ColdStart | None = None
    timing: Timing | None = None
    unavailable: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the row as one flat JSON object."""
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
    """Return the rows of the smallest batch that was measured, with their timings.

    A request of one input waits for such a batch.
    """
    timed = [(row, row.timing) for row in rows if row.timing]
    least = min((timing.setting.batch_size for _, timing in timed), default=1)
    return [(row, timing) for row, timing in timed if timing.setting.batch_size == least]
