"""The result of a comparison: what is printed, what is kept as JSON, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.compare.extrapolating import Ahead
from pipeline.compare.table import Bounds, Row
from pipeline.files.records import Record, VersionedRecord
from pipeline.measures.records import TransferVerdict
from pipeline.reporting.page import render_page

NONE = "-"
HEAD_KEPT = "the best head"


class Expected(Record):
    """What is expected at more training samples.

    Attributes:
        factor: How many times as many as now.
        error: Expected share of wrong answers on validation.
        interval: Its 95 % interval.
        gain: By how much that is less than now.
        gain_interval: The 95 % interval of the gain.
        is_told: Whether the curve can tell that there is a gain.
    """

    factor: int
    error: float
    interval: Bounds
    gain: float
    gain_interval: Bounds
    is_told: bool

    @classmethod
    def of(cls, ahead: Ahead) -> Expected:
        """Return the record of an extrapolation."""
        return cls(**vars(ahead), is_told=ahead.is_told)


class CurveRow(Record):
    """A point of a learning curve.

    Attributes:
        name: Name of the backbone.
        samples: Number of training samples.
        error: Mean share of wrong answers on validation over the draws.
        draws: Number of draws.
    """

    name: str
    samples: int
    error: float
    draws: int


class Comparison(VersionedRecord):
    """What ``graft compare`` found.

    Attributes:
        run: The run's folder.
        unit: What several samples are called, such as ``pictures``.
        train: Number of training samples, on which the folds are.
        validation: Number of samples of validation.
        rows: A line for each backbone, the best first.
        without_transfer: The line of the classic model without transfer; None where the kind has none.
        transfer: Whether the one to take is better than the classic model; None where there is none.
        recommendation: What to take, and why, in a sentence; None where one backbone was looked at.
        recipe: Path of the recommended recipe; None where there is no recommendation.
        curve: The points of the learning curves; empty where none was asked for.
        expected: What is expected at more samples; empty where it is not known.
        more_samples: Whether more data would help more than a larger model, in a sentence; None where no
            curve was asked for.
        page: Path of the page.
    """

    run: str
    unit: str
    train: int
    validation: int
    rows: tuple[Row, ...]
    without_transfer: Row | None
    transfer: TransferVerdict | None
    recommendation: str | None
    recipe: str | None
    curve: tuple[CurveRow, ...]
    expected: tuple[Expected, ...]
    more_samples: str | None
    page: str

    def to_text(self) -> str:
        """Return the table and the sentences for people."""
        lines = _align([HEAD, *(cells(row) for row in self.lines())])
        lines += ["", *(f"{row.name}: {row.because}" for row in self.rows if row.because)]
        lines += [self.explanation()]
        if self.curve:
            lines += ["", *_align([CURVE_HEAD, *map(curve_cells, self.curve)])]
            lines += [expected_text(each) for each in self.expected]
        for title, text in (
            ("recommended", self.recommendation),
            ("transfer", self.transfer and self.transfer.why),
            ("recipe", self.recipe and f"graft run {self.recipe}"),
            ("more samples", self.more_samples),
            ("page", self.page),
        ):
            lines += [f"{title:<13}{text}"] if text else []
        return "\n".join(lines)

    def lines(self) -> Sequence[Row]:
        """Return the lines of the table: the backbones, and the classic model."""
        return [*self.rows, *([self.without_transfer] if self.without_transfer else [])]

    def explanation(self) -> str:
        """Return what the columns are, in a few sentences."""
        return (
            f"probe: a linear head on frozen features, cross-validated on the training split ({self.train:,}"
            f" {self.unit}; 95 % interval over folds), and on {self.validation:,} of validation; tuned: there"
            " too, after so many epochs of fine-tuning, `head` where none was better than the head. The test"
            " split is not read. LogME is shown for information and decides nothing."
        )


HEAD = (
    "backbone",
    "probe",
    "95 %",
    "loss",
    "validation",
    "tuned",
    "loss",
    "ms",
    "10-90 %",
    "params",
    "ONNX",
    "LogME",
)
CURVE_HEAD = ("backbone", "samples", "error on validation", "draws")


def cells(row: Row) -> tuple[str, ...]:
    """Return a line of the table, each figure in its own unit."""
    rank = "" if row.logme_rank is None else f" (#{row.logme_rank})"
    return (
        row.name + (" (own)" if row.is_own else ""),
        _shown(row.probe_accuracy, ".3f"),
        _range(row.probe_interval, ".3f"),
        _shown(row.probe_loss, ".3f"),
        _shown(row.validation_accuracy, ".3f"),
        _tuned(row),
        _shown(row.tuned_loss, ".3f"),
        _shown(row.ms, ".2f"),
        _range(row.ms_interval, ".2f"),
        NONE if row.parameters is None else f"{row.parameters / 1e6:.2f} M",
        NONE if row.onnx_bytes is None else f"{row.onnx_bytes / 1e6:.1f} MB",
        NONE if row.logme is None else f"{row.logme:.3f}{rank}",
    )


def curve_cells(row: CurveRow) -> tuple[str, ...]:
    """Return a line of the table of the learning curves."""
    return row.name, f"{row.samples:,}", f"{row.error:.3f}", str(row.draws)


def expected_text(expected: Expected) -> str:
    """Return an extrapolation for people."""
    low, high = expected.interval
    least, most = expected.gain_interval
    told = "" if expected.is_told else "; that there is a gain cannot be told"
    return (
        f"expected at {expected.factor} times the samples: error {expected.error:.3f} ({low:.3f} to"
        f" {high:.3f}), a gain of {expected.gain:.3f} ({least:.3f} to {most:.3f}){told}"
    )


def _tuned(row: Row) -> str:
    """Return the accuracy after fine-tuning, with the number of epochs, and a word where a head was kept."""
    head = ", head" if row.tuned_kept == HEAD_KEPT else ""
    return f"{row.tuned_accuracy:.3f} ({row.tuned_epochs}{head})" if row.tuned_epochs else NONE


def _shown(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _range(bounds: Bounds | None, form: str) -> str:
    return NONE if bounds is None else f"{bounds[0]:{form}}-{bounds[1]:{form}}"


def _align(table: Sequence[Sequence[str]]) -> list[str]:
    """Return lines whose columns stand below one another, the first to the left and others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def render(comparison: Comparison, title: str, pareto: bytes, curves: bytes | None) -> str:
    """Return the page of a comparison.

    Args:
        comparison: The comparison.
        title: The run's name.
        pareto: The plot of accuracy against time, a PNG file.
        curves: The plot of the learning curves; None where none was asked for.
    """
    return render_page(
        "pipeline.compare",
        "report.html.jinja",
        title=title,
        comparison=comparison,
        head=HEAD,
        rows=[cells(row) for row in comparison.lines()],
        curve_head=CURVE_HEAD,
        curve=[curve_cells(row) for row in comparison.curve],
        expected=[expected_text(each) for each in comparison.expected],
        pareto=pareto,
        curves=curves,
        recipe_name=Path(comparison.recipe).name if comparison.recipe else None,
    )
