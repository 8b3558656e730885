"""Predict files and texts through the predictor that the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import find_bundle
from pipeline.run.answering import answer_all
from serving.model.inputs.kind import FileBody
from serving.model.inputs.registry import find_kind
from serving.model.predictor import load_predictor
from serving.model.schemas import ErrorDetail, Prediction


@dataclass(frozen=True)
class Input:
    """An input to predict: a file or a text.

    Attributes:
        file: Path of the file; None for a text.
        text: The text; None for a file.
    """

    file: Path | None = None
    text: str | None = None

    def read(self) -> bytes:
        """Return the input's bytes; raises OSError if the file cannot be read."""
        return self.file.read_bytes() if self.file else (self.text or "").encode(errors="surrogateescape")

    def __str__(self) -> str:
        """Return the file's path or the text on one line, whatever is in it."""
        return " ".join(str(self.file or self.text).split()).encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class Answer:
    """A prediction, or the reason that there is none.

    Attributes:
        input: The input that was predicted.
        prediction: The prediction; None if the input was refused.
        error: The reason why the input was refused; None if it was predicted.
    """

    input: Input
    prediction: Prediction | None
    error: ErrorDetail | None

    def to_json(self) -> dict[str, object]:
        """Return the prediction as the service answers it, with the file's name or the text."""
        name = {"file": str(self.input.file)} if self.input.file else {"text": self.input.text}
        if self.prediction is not None:
            return {**name, **self.prediction.to_json()}
        return {**name, "error": self.error and self.error.to_json()}

    def to_text(self) -> str:
        """Return the answer on one line, for people."""
        if self.prediction is None:
            return f"{self.input}: error: {self.error.message if self.error else 'unknown'}"
        others = ", ".join(
            f"{label} {probability:.4f}" for label, probability in self.prediction.probabilities.items()
        )
        cut = self.prediction.truncation
        note = f", read up to token {cut.used} of {cut.tokens}" if cut else ""
        return f"{self.input}: {self.prediction.label} ({others}){note}"


def predict_all(run: Path, inputs: Sequence[Input], artifact: str | None = None) -> list[Answer]:
    """Predict all inputs; one that cannot be read or decoded gets an error of its own.

    Args:
        run: A run's folder, or a bundle's.
        inputs: Files or texts of the bundle's modality.
        artifact: A published artifact's name; by default what a benchmark recommends, or the bundle's first.

    Returns:
        The answers, in the order of the inputs.

    Raises:
        GraftError: A text is asked for, but the run takes files.
    """
    predictor = load_predictor(find_bundle(run), artifact=artifact)
    kind = find_kind(predictor.manifest.input.modality)
    if isinstance(kind.body, FileBody) and any(item.text is not None for item in inputs):
        raise GraftError(f"{run}: takes {kind.plural}. Name their files; --text is for runs on texts.")

    answers = answer_all(predictor, inputs, Input.read, what="predict", unit="inputs")
    return [
        Answer(item, answer, None) if isinstance(answer, Prediction) else Answer(item, None, answer)
        for item, answer in zip(inputs, answers, strict=True)
    ]


def describe_predictions(answers: Sequence[Answer]) -> str:
    """Return the answers for people, one line each."""
    return "\n".join(answer.to_text() for answer in answers)
