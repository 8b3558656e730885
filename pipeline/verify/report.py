"""The receipts of a run side by side, as a page and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.artifacts.states import State
from pipeline.reporting.page import render_page
from serving.model.receipt import Receipt

FLIPS_SHOWN = 50


@dataclass(frozen=True)
class Cell:
    """One figure of one receipt.

    Attributes:
        text: The figure as people read it.
        failed: Whether it is past its limit.
        limit: The limit; None if it has none.
    """

    text: str
    failed: bool
    limit: float | None


@dataclass(frozen=True)
class Row:
    """One figure of every receipt.

    Attributes:
        name: Name of the figure, for people.
        cells: The figure of each receipt, in the order of the receipts.
    """

    name: str
    cells: Sequence[Cell]


def _plain(name: str, form: str) -> Callable[[Receipt], str]:
    """Return a function that formats one figure of a receipt, or gives a dash if it was not measured."""

    def show(receipt: Receipt) -> str:
        value = getattr(receipt.measured, name)
        return "-" if value is None else form.format(value)

    return show


def _difference(name: str) -> Callable[[Receipt], str]:
    """Return a function that formats the difference of a metric with its interval."""

    def show(receipt: Receipt) -> str:
        difference = receipt.measured.metrics_difference.get(name)
        if difference is None:
            return "-"
        numbers = (difference.value, *difference.interval_95)
        value, low, high = (round(number, 4) + 0.0 for number in numbers)  # no -0.0000
        return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"

    return show


def _divergence(receipt: Receipt) -> str:
    mean_kl = receipt.measured.mean_kl
    return "-" if mean_kl is None else f"{max(mean_kl, 0.0):.2g}"


def _layers_in_fp32(receipt: Receipt) -> str:
    return ", ".join(receipt.made.kept_fp32 if receipt.made else ()) or "-"


# Each row of the table: its name, the name of the check that limits it, and the function that formats it.
FIGURES: tuple[tuple[str, str | None, Callable[[Receipt], str]], ...] = (
    ("passed", None, lambda receipt: "yes" if receipt.passed else "NO"),
    ("run by", None, lambda receipt: receipt.in_use.runtime),
    ("on", None, lambda receipt: receipt.in_use.provider),
    (
        "answers that agree",
        "agreement",
        lambda receipt: f"{receipt.measured.agreeing or 0} of {receipt.measured.samples}",
    ),
    ("largest difference of a logit", None, _plain("max_abs_logits", "{:.2g}")),
    ("99th percentile of it", None, _plain("p99_abs_logits", "{:.2g}")),
    ("in proportion to large logits", "max_scaled_logits", _plain("max_scaled_logits", "{:.2g}")),
    (
        "largest difference of a probability",
        "max_abs_probabilities",
        _plain("max_abs_probabilities", "{:.2g}"),
    ),
    ("least cosine", "min_cosine", _plain("min_cosine", "{:.6f}")),
    ("mean KL, nats", "mean_kl", _divergence),
    ("accuracy, difference", "metric_drop", _difference("accuracy")),
    ("macro F1, difference", "metric_drop", _difference("macro_f1")),
    ("AUROC, difference", None, _difference("auroc")),
    ("ECE, difference", None, _difference("ece")),
    ("confidence, factor", "confidence_error", _plain("confidence", "{:.4f}")),
    ("temperature refitted", None, _plain("temperature_refitted", "{:.4f}")),
    ("ECE after that", None, _plain("ece_refitted", "{:.4f}")),
    ("between batch sizes", "batch_difference", _plain("batch_difference", "{:.2g}")),
    ("NaN or infinite", "not_finite", _plain("not_finite", "{}")),
    ("layers left in fp32", None, _layers_in_fp32),
)


def table_of(receipts: Sequence[Receipt]) -> list[Row]:
    """Return the table of all figures: one row for each figure, one cell for each receipt."""
    return [Row(name, [_cell(receipt, check, show) for receipt in receipts]) for name, check, show in FIGURES]


def _cell(receipt: Receipt, check: str | None, show: Callable[[Receipt], str]) -> Cell:
    limited = next((each for each in receipt.checks if each.name == check), None)
    return Cell(
        show(receipt),
        failed=bool(limited and not limited.passed),
        limit=limited.limit if limited else None,
    )


def to_text(receipts: Sequence[Receipt]) -> str:
    """Return the table for a terminal, in which an exclamation mark says that a figure is past its limit."""
    rows = [("", *(receipt.artifact for receipt in receipts))]
    rows += [
        (row.name, *(f"{'! ' if cell.failed else ''}{cell.text}" for cell in row.cells))
        for row in table_of(receipts)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def render_receipts(title: str, states: Mapping[str, State], receipts: Sequence[Receipt]) -> str:
    """Render the page that shows the receipts.

    Args:
        title: The run's name.
        states: The state of each artifact, by its name.
        receipts: The receipts of all artifacts that were run, published or not.

    Returns:
        A self-contained HTML document.
    """
    return render_page(
        "pipeline.verify",
        "report.html.jinja",
        title=title,
        samples=receipts[0].measured.samples,
        states=states,
        receipts=receipts,
        rows=table_of(receipts),
        shown=FLIPS_SHOWN,
    )
