"""A floor under the metrics: a run that misses it goes no further."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import GateFailedError
from pipeline.measures.records import BaselineMetrics, Figures, Score
from pipeline.recipe.sections import Metric

log = logging.getLogger("graft")


def require_better_than_guessing(score: Score, report: Path, *, ship_anyway: bool) -> None:
    """Stop a run whose model tells no more about the labels than chance would.

    Where the samples are too few to tell, it warns.

    Args:
        score: The measured figures, with the verdict of the test.
        report: Path of the page that shows them, for the message.
        ship_anyway: Whether the run only warns and goes on: the recipe's ``evaluate.ship_guessing``.

    Raises:
        GateFailedError: The model is not better than guessing.
    """
    found = score.guessing
    figures = (
        f"balanced accuracy {found.balanced_accuracy:.3f} (chance {found.chance:.3f}),"
        f" p = {found.p_value:.3g}, {score.samples} samples"
    )
    if found.verdict == "better":
        return
    if found.verdict == "too_few_samples":
        log.warning(
            "evaluate: the test split is too small to tell the model from guessing (%s). Even answers without"
            " a mistake would have p = %.3g. Add samples",
            figures,
            found.least_p_value,
        )
        return
    if ship_anyway:
        log.warning(
            "evaluate: not better than guessing (%s); it goes on, because evaluate.ship_guessing says so",
            figures,
        )
        return
    raise GateFailedError(
        f"evaluate: the model is not better than guessing: {figures}. Nothing is packaged. {report} shows"
        " where it errs. Check the labels and how the data's layout was read (graft data says it), add"
        " samples, try another backbone, or ship it knowingly: evaluate.ship_guessing: true"
    )


def find_missed(figures: Figures, least: Mapping[Metric, float] | Mapping[str, float]) -> list[str]:
    """Return a sentence's part for each figure that is below its least value.

    Args:
        figures: The measured figures.
        least: The least value of each figure that is limited.
    """
    measured = {name: float(getattr(figures, name)) for name in least}
    return [
        f"{name} is {measured[name]:.4f}, required {floor:g}"
        for name, floor in least.items()
        if measured[name] < floor
    ]


def require_metrics(figures: Figures, least: Mapping[Metric, float], report: Path) -> None:
    """Compare measured figures with the recipe's ``evaluate.require``.

    Args:
        figures: The measured figures.
        least: The least value of each figure that the recipe limits.
        report: Path of the page that shows where the model errs, for the message.

    Raises:
        GateFailedError: A figure is below its least value; the message lists every one that is.
    """
    missed = find_missed(figures, least)
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
        " Improve the recipe (another backbone, `finetune.mode: auto`),"
        " or ship it knowingly: evaluate.ship_below_baseline: true"
    )
