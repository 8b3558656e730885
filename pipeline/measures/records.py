"""The metrics of a run as the file ``evaluate/metrics.json`` holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.files.records import Record, VersionedRecord, read_record, write_record

Interval = tuple[float, float]
TransferAnswer = Literal["helps", "no_measurable_difference", "hurts", "cannot_be_told"]
Measure = Literal["accuracy", "balanced_accuracy"]
REMEDY = "Evaluate again: graft evaluate RUN --force"


class Figures(Record):
    """The figures that are one number each, all in [0, 1]. Means are over the classes that have samples.

    Attributes:
        accuracy: Share of right answers.
        macro_precision: Precision, the mean over the classes.
        macro_recall: Recall, the mean over the classes.
        macro_f1: F1, the mean over the classes.
        auroc: Area under the ROC curve; of more than two classes the mean of each against the rest; 0.5 with
            the interval [0, 1] where all samples are of one class, so that nothing can be ranked.
        ece: Expected calibration error of the most probable label.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    auroc: float
    ece: float


class Intervals(Record):
    """The 95 % interval of each figure of :class:`Figures`: the lower and the upper bound (docs/adr/0017)."""

    accuracy: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    auroc: Interval
    ece: Interval


class ClassMetrics(Record):
    """The figures of one class; a share of nothing is 0, with the interval [0, 1].

    Attributes:
        precision: Share of right answers among those that name the class.
        precision_95: Exact 95 % interval of the precision.
        recall: Share of the class's samples that are answered rightly.
        recall_95: Exact 95 % interval of the recall.
        f1: Harmonic mean of the two.
        support: Number of samples of the class; 0 where the class is in no mean.
    """

    precision: float
    precision_95: Interval
    recall: float
    recall_95: Interval
    f1: float
    support: int


class ConfusionMatrix(Record):
    """The numbers of samples of each class that were taken for each.

    Attributes:
        labels: Class names, in the order of rows and columns.
        rows_are: What a row stands for: the ``true`` class; a column is the predicted one.
        counts: Numbers of samples, in one tuple a row.
    """

    labels: tuple[str, ...]
    rows_are: Literal["true"] = "true"
    counts: tuple[tuple[int, ...], ...]


class OpponentResult(Record):
    """How a fine-tuned model compares with an opponent.

    Attributes:
        name: The opponent's name, for people.
        is_transfer: Whether the opponent uses what was pretrained.
        accuracy: The opponent's share of right answers.
        balanced_accuracy: The opponent's mean recall of the classes that have samples.
        better_than_guessing: Whether the opponent is clearly better than guessing: at 5 % for the model and
            all opponents together.
        difference: The model's measure less the opponent's.
        difference_95: The 95 % interval of the difference.
        p_value: Two-sided p-value that the difference is 0.
        smallest_difference: Smallest difference that these samples would have told from 0.
    """

    name: str
    is_transfer: bool
    accuracy: float
    balanced_accuracy: float
    better_than_guessing: bool
    difference: float
    difference_95: Interval
    p_value: float
    smallest_difference: float


class TransferVerdict(Record):
    """Whether transfer helps.

    Attributes:
        answer: ``helps``: better than every opponent without transfer. ``hurts``: worse than an opponent.
            ``no_measurable_difference``: neither, and the whole interval is within the margin.
            ``cannot_be_told``: neither, and the interval is wider, or the model is not clearly better than
            guessing.
        why: One sentence for people.
        measure: What is compared: ``accuracy``, or ``balanced_accuracy`` where the training balances classes.
        value: The model's value of it.
        against: Name of the opponent that decides; None where there is none.
        difference: The model's value less that opponent's; 0 where there is none.
        difference_95: The 95 % interval of the difference; [-1, 1] where there is no opponent.
        smallest_difference: Smallest difference that these samples would have told from 0.
        margin: Largest difference that counts as none.
        samples: Number of samples.
        opponents: How the model compares with each opponent.
        left_out: A sentence for each opponent that could not be had.
    """

    answer: TransferAnswer
    why: str
    measure: Measure
    value: float
    against: str | None
    difference: float
    difference_95: Interval
    smallest_difference: float
    margin: float
    samples: int
    opponents: tuple[OpponentResult, ...]
    left_out: tuple[str, ...] = ()


class Guessing(Record):
    """The test whether the model is better than guessing.

    Attributes:
        verdict: ``better``; ``guessing``; or ``too_few_samples``, where even answers without a mistake could
            not show it.
        balanced_accuracy: Mean recall of the classes that have samples.
        chance: One over the number of classes that the model knows.
        p_value: Share of random orders of the answers whose balanced accuracy is at least as large.
        least_p_value: The p-value that answers without a mistake would have.
        random_orders: Number of random orders behind the p-value; 0 where all were taken.
    """

    verdict: Literal["better", "too_few_samples", "guessing"]
    balanced_accuracy: float
    chance: float
    p_value: float
    least_p_value: float
    random_orders: int


class _Counted(VersionedRecord):
    schema_version: Literal[3] = 3  # type: ignore[assignment] # the third form of this record
    samples: int


class Score(Figures, _Counted):
    """What the answers of a model on labelled samples tell.

    Fields of the bases come first in the file, those of the last base before all.

    Attributes:
        schema_version: The version of the record's form.
        samples: Number of samples.
        per_class: Figures of each class, by its label.
        confusion_matrix: Numbers of samples of each class that were taken for each.
        intervals_95: The 95 % interval of each figure.
        guessing: Whether the model is better than guessing.
    """

    per_class: dict[str, ClassMetrics]
    confusion_matrix: ConfusionMatrix
    intervals_95: Intervals
    guessing: Guessing

    def absent(self) -> list[str]:
        """Return the labels of which there is no sample: they are in no mean."""
        return [label for label, row in self.per_class.items() if row.support == 0]


class Metrics(Score):
    """The metrics of the checkpoint on the test split.

    Attributes:
        ece_uncalibrated: Expected calibration error at a temperature of 1.
        temperature: What the logits are divided by, fitted on validation.
        transfer: The verdict on transfer; None where it was not judged.
    """

    ece_uncalibrated: float
    temperature: float
    transfer: TransferVerdict | None = None


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write the metrics of a run as JSON."""
    write_record(path, metrics)


def read_metrics(path: Path) -> Metrics:
    """Read the metrics of a run.

    Raises:
        GraftError: The file does not hold metrics; the message names the remedy.
    """
    return read_record(path, Metrics, REMEDY)
