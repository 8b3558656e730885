"""The outcome of scoring labelled data, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import GateFailedError
from pipeline.evaluate.gate import find_missed
from pipeline.measures.records import ClassMetrics, Guessing, Interval, Score
from pipeline.reporting.printable import listing, printable
from serving.model.schemas import ModelInfo

SHOWN = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("macro_precision", "precision"),
    ("macro_recall", "recall"),
    ("auroc", "AUROC"),
    ("ece", "ECE"),
)
VERDICTS = {
    "better": "better than guessing",
    "guessing": "NOT better than guessing",
    "too_few_samples": "too few samples to tell",
}
WIDEST_LABEL = 30


@dataclass(frozen=True)
class Unread:
    """A sample that has no answer.

    Attributes:
        source: Path of its file, or path of its table with the line.
        code: Why, for programs.
        message: Why, for people.
    """

    source: str
    code: str
    message: str


@dataclass(frozen=True)
class ScoredPlace:
    """The figures of a model on labelled data. Its fields are the keys of what ``--json`` prints.

    Attributes:
        place: Where the data are.
        model: The model and the artifact that answered.
        score: The figures.
        left_out: Number of samples of each label that the model does not know.
        unread: The samples that could not be read.
        seen: Number of scored samples that trained or selected the model, where the run tells.
    """

    place: str
    model: ModelInfo
    score: Score
    left_out: Mapping[str, int]
    unread: Sequence[Unread]
    seen: int

    def remarks(self) -> list[str]:
        """Return a sentence for each kind of sample that is not in the figures, or should not be."""
        lines = []
        if self.left_out:
            labels = ", ".join(f"{printable(label)} ({count})" for label, count in self.left_out.items())
            lines.append(f"left out: {sum(self.left_out.values())} samples of unknown labels: {labels}")
        if self.unread:
            lines.append(f"unread: {len(self.unread)} samples could not be read and are not in the figures")
        if self.seen:
            lines.append(
                f"seen: {self.seen} of {self.score.samples} samples trained or selected this model;"
                " the figures flatter it"
            )
        if absent := self.score.absent():
            names = ", ".join(map(printable, absent[:10])) + (", …" if len(absent) > 10 else "")
            lines.append(f"absent: no sample has the label {names}; the means are over the others")
        return lines

    def to_text(self) -> str:
        """Return the figures as lines for people."""
        model, intervals = self.model, self.score.intervals_95
        lines = [f"data      {self.score.samples} samples of {printable(self.place, 200)}"]
        lines.append(f"model     {model.name} {model.version[:12]}, {model.artifact}")
        lines += [
            f"  {name:<10}{getattr(self.score, key):.3f}   {_interval(getattr(intervals, key))}"
            for key, name in SHOWN
        ]
        lines += [_describe(self.score.guessing), *_table(self.score.per_class), *self.remarks()]
        if self.unread:
            lines.append(listing(f"{printable(each.source)}: {each.message}" for each in self.unread))
        return "\n".join(lines)

    def require(self, least: Mapping[str, float]) -> None:
        """Raise an error if a figure is below its least value.

        Args:
            least: The least value of each figure that is limited.

        Raises:
            GateFailedError: A figure is below it; the message lists every one that is.
        """
        if missed := find_missed(self.score, least):
            raise GateFailedError(
                f"{self.place}: {'; '.join(missed)}. The model has not been changed. Train it on data like"
                " these, or lower --require knowingly."
            )


def _interval(bounds: Interval) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _describe(found: Guessing) -> str:
    return (
        f"guessing  {VERDICTS[found.verdict]}: balanced accuracy {found.balanced_accuracy:.3f},"
        f" chance {found.chance:.3f}, p = {found.p_value:.2g}"
    )


def _table(per_class: Mapping[str, ClassMetrics]) -> list[str]:
    """Return a line for each label below a line with the names of the columns."""
    names = [printable(label, WIDEST_LABEL) for label in per_class]
    width = max(map(len, ["label", *names]))
    lines = [f"{'label':<{width}}  {'precision':<22}{'recall':<22}{'F1':<7}samples"]
    return lines + [
        f"{name:<{width}}  {row.precision:.3f} {_interval(row.precision_95):<16}"
        f"{row.recall:.3f} {_interval(row.recall_95):<16}{row.f1:.3f}  {row.support}"
        for name, row in zip(names, per_class.values(), strict=True)
    ]
