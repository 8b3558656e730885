"""One self-contained page that says what the model is worth, and where it errs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.plots import plot_confusion, plot_learning, plot_reliability, plot_roc_and_pr
from pipeline.files.samples import Sample
from pipeline.modalities.training import Shown, Training
from pipeline.reporting.page import render_page

MISTAKES_SHOWN = 24
FIGURES = (
    ("accuracy", "Accuracy"),
    ("macro_f1", "Macro F1"),
    ("macro_precision", "Macro precision"),
    ("macro_recall", "Macro recall"),
    ("auroc", "AUROC"),
    ("ece", "ECE"),
)


@dataclass(frozen=True)
class Scored:
    """A split's samples with their class indices and probabilities, before and after scaling: (samples, classes)."""

    samples: Sequence[Sample]
    targets: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: what it looks like, what it is, and how sure the model was of something else."""

    name: str
    shown: Shown
    true: str
    predicted: str
    confidence: float


def render_report(
    title: str,
    labels: Sequence[str],
    scored: Scored,
    metrics: Mapping[str, Any],
    history: Mapping[str, Any],
    audit: Mapping[str, Any],
    modality: Training,
) -> str:
    """The page as HTML, with every picture inside it.

    Args:
        title: The run's name.
        labels: Class names.
        scored: The test split.
        metrics: What ``metrics.json`` holds.
        history: The training's record.
        audit: What intake counted.
        modality: The samples'.
    """
    return render_page(
        "pipeline.evaluate",
        "report.html.jinja",
        title=title,
        labels=labels,
        metrics=metrics,
        figures=FIGURES,
        history=history,
        audit=audit,
        confusion=plot_confusion(metrics["confusion_matrix"]["counts"], labels),
        curves=plot_roc_and_pr(scored.after, scored.targets, labels),
        reliability=plot_reliability(scored.before, scored.after, scored.targets),
        learning=plot_learning(history["epochs"], history["best_epoch"]),
        mistakes=find_mistakes(scored, labels, modality),
    )


def find_mistakes(scored: Scored, labels: Sequence[str], modality: Training) -> list[Mistake]:
    """The wrong answers that the model was surest of, the worst first."""
    predicted = scored.after.argmax(axis=1)
    confidence = scored.after.max(axis=1)
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
