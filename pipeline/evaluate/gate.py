"""A floor under the metrics: a run that misses it goes no further."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import GateFailedError
from pipeline.measures.records import Figures, Score, TransferVerdict
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


def require_no_harm(verdict: TransferVerdict, report: Path, *, ship_anyway: bool) -> None:
    """Stop a run whose model is worse than what does without transfer, or without fine-tuning.

    Args:
        verdict: The verdict on transfer.
        report: Path of the page that shows it, for the message.
        ship_anyway: Whether the run only warns and goes on: the recipe's ``evaluate.ship_negative_transfer``.

    Raises:
        GateFailedError: The model is clearly worse than one of its opponents.
    """
    if verdict.answer != "hurts":
        return
    if ship_anyway:
        log.warning("evaluate: %s It goes on, because evaluate.ship_negative_transfer says so", verdict.why)
        return
    raise GateFailedError(
        f"evaluate: {verdict.why} Nothing is packaged. {report} shows all of them."
        f" {verdict.against} may be all that this task needs. Otherwise improve the recipe (another backbone,"
        " `finetune.mode: auto`), or ship it knowingly: evaluate.ship_negative_transfer: true"
    )
