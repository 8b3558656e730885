"""The report: one self-contained page that says what the model is worth, and where it errs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.augmented import Sheet
from pipeline.artifacts.history import History
from pipeline.evaluate.differences import plot_differences
from pipeline.evaluate.learning import plot_learning
from pipeline.evaluate.plots import plot_confusion, plot_reliability, plot_roc_and_pr
from pipeline.files.audit import Audit
from pipeline.measures.records import Metrics, Score
from pipeline.modalities.registry import find_modality
from pipeline.modalities.training import Shown, Training
from pipeline.reporting.page import render_page
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.task import Task

MISTAKES_SHOWN = 24
# Named here, since a stage's code is its modules and the files that these name.
SHARED = {"style": "styled.html.jinja", "parts": "parts.html.jinja", "training": "training.html.jinja"}
# What the page lists of the data; the record of the audit has all.
LISTED = 10
FIGURES = (
    ("accuracy", "Accuracy"),
    ("macro_f1", "Macro F1"),
    ("macro_precision", "Macro precision"),
    ("macro_recall", "Macro recall"),
    ("auroc", "AUROC"),
    ("ece", "ECE"),
)


class Named(Protocol):
    """A sample that can be read and has a name."""

    @property
    def source(self) -> str:
        """Path of the sample's file, or path of its table with the line."""
        ...

    def read(self) -> bytes:
        """Return the sample's bytes."""
        ...


@dataclass(frozen=True)
class Scored:
    """Samples that a model has answered.

    Attributes:
        samples: The samples, such as those of a split.
        targets: Class indices of the samples, int64 of shape (samples,).
        before: Probabilities at a temperature of 1, float64 of shape (samples, classes); None where only the
            served ones are known.
        after: Probabilities at the fitted temperature, of the same shape.
    """

    samples: Sequence[Named]
    targets: NDArray[np.int64]
    before: NDArray[np.float64] | None
    after: NDArray[np.float64]


@dataclass(frozen=True)
class Records:
    """The records of this stage and those before it that the page shows.

    Attributes:
        metrics: Metrics of the test split.
        history: Record of the training.
        audit: Findings of the audit of the data.
        sheet: Some training samples with their random changes; None, the default, where nothing was changed.
    """

    metrics: Metrics
    history: History
    audit: Audit
    sheet: Sheet | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes:
        name: The sample's file name, or its table's name and line.
        shown: The sample as people see it.
        true: The sample's label.
        predicted: The label that the model gave.
        confidence: Probability of the label that the model gave, in [0, 1].
    """

    name: str
    shown: Shown
    true: str
    predicted: str
    confidence: float


def render_report(
    title: str,
    labels: Sequence[str],
    scored: Scored,
    records: Records,
    modality: Training,
    task: Task,
) -> str:
    """Render the page as HTML, with every picture inside it.

    Args:
        title: Name of the run.
        labels: Class names, in the order of the probabilities.
        scored: The test split, with its answers.
        records: The records whose figures the page shows.
        modality: The training side of the kind of input, which shows the samples of the mistakes.
        task: The task, which says which answers are mistakes.
    """
    metrics, history = records.metrics, records.history
    return render_page(
        "pipeline.evaluate",
        "report.html.jinja",
        title=title,
        labels=labels,
        metrics=metrics,
        shared=SHARED,
        figures=FIGURES,
        history=history,
        audit=records.audit,
        sheet=records.sheet,
        listed=LISTED,
        **_plots(metrics, scored, labels),
        learning=plot_learning(history),
        transfer=plot_differences(metrics.transfer) if metrics.transfer else None,
        mistakes=find_mistakes(scored, labels, modality, task),
    )


def render_score(
    title: str, place: str, answered_by: str, score: Score, scored: Scored, remarks: Sequence[str], kind: str
) -> str:
    """Render the page of data that are no part of the run, as HTML, with every picture inside it.

    Args:
        title: Name of the model.
        place: Where the samples come from.
        answered_by: Name of the artifact and version of the model that answered.
        score: The figures.
        scored: The samples, with the answers.
        remarks: Sentences about samples that are not in the figures.
        kind: Name of the kind of input.
    """
    labels = score.confusion_matrix.labels
    return render_page(
        "pipeline.evaluate",
        "score.html.jinja",
        title=title,
        place=place,
        answered_by=answered_by,
        score=score,
        shared=SHARED,
        figures=FIGURES,
        remarks=remarks,
        **_plots(score, scored, labels),
        mistakes=find_mistakes(scored, labels, find_modality(kind).load(), CLASSIFICATION),
    )


def _plots(score: Score, scored: Scored, labels: Sequence[str]) -> dict[str, bytes | None]:
    """Return the plots that every page has, by their names in the templates; no curves of one label alone."""
    ranked = len(np.unique(scored.targets)) > 1
    return {
        "confusion": plot_confusion(score.confusion_matrix.counts, labels),
        "curves": plot_roc_and_pr(scored.after, scored.targets, labels) if ranked else None,
        "reliability": plot_reliability(scored.before, scored.after, scored.targets),
    }


def find_mistakes(scored: Scored, labels: Sequence[str], modality: Training, task: Task) -> list[Mistake]:
    """Return up to 24 wrong answers that the model was surest of, the worst first.

    Args:
        scored: The test split, with its answers.
        labels: Class names, in the order of the probabilities.
        modality: The training side of the kind of input, which shows the samples.
        task: The task, which says what the answers and their confidences are.
    """
    predicted = task.answers(scored.after)
    confidence = task.confidences(scored.after)
    wrong = np.flatnonzero(predicted != scored.targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    return [
        Mistake(
            name=scored.samples[i].source.rpartition("/")[2],
            shown=modality.show(scored.samples[i].read()),
            true=labels[scored.targets[i]],
            predicted=labels[predicted[i]],
            confidence=float(confidence[i]),
        )
        for i in worst
    ]
