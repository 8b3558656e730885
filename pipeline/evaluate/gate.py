"""A floor under the metrics: a run that misses it goes no further."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import GateFailedError
from pipeline.measures.records import BaselineMetrics, Figures
from pipeline.recipe.sections import Metric

log = logging.getLogger("graft")


def require_metrics(figures: Figures, least: Mapping[Metric, float], report: Path) -> None:
    """Compare measured figures with the recipe's ``evaluate.require``.

    Args:
        figures: The measured figures.
        least: The least value of each figure that the recipe limits.
        report: Path of the page that shows where the model errs, for the message.

    Raises:
        GateFailedError: A figure is below its least value; the message lists every one that is.
    """
    measured = {name: float(getattr(figures, name)) for name in least}
    missed = [
        f"{name} is {measured[name]:.4f}, required {floor:g}"
        for name, floor in least.items()
        if measured[name] < floor
    ]
    if missed:
        raise GateFailedError(
            f"evaluate.require: {'; '.join(missed)}. Nothing is packaged. {report} shows where it errs."
            " Improve the recipe, or lower the requirement knowingly."
        )


def require_lead(baseline: BaselineMetrics | None, report: Path, *, ship_anyway: bool) -> None:
    """Stop a run whose model does worse than a simple baseline.

    Then transfer has hurt, or the backbone does not fit the task.

    Args:
        baseline: The baseline's measured figures; None where there is no baseline.
        report: Path of the page that shows both, for the message.
        ship_anyway: Whether the run only warns and goes on: the recipe's ``evaluate.ship_below_baseline``.

    Raises:
        GateFailedError: The baseline's macro F1 is higher.
    """
    if baseline is None or not baseline.loses:
        return
    verdict = (
        f"the model's macro F1 is {-baseline.lead:.4f} below that of {baseline.name}"
        f" ({baseline.macro_f1:.4f})"
    )
    if ship_anyway:
        log.warning("evaluate: %s; it goes on, because evaluate.ship_below_baseline says so", verdict)
        return
    raise GateFailedError(
        f"evaluate: {verdict}. Nothing is packaged. {report} shows both."
        " Improve the recipe (another backbone, `mode: full`),"
        " or ship it knowingly: evaluate.ship_below_baseline: true"
    )
