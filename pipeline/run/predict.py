"""Predict files and texts through the predictor that the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import find_bundle
from pipeline.reporting.progress import track
from serving.model.inputs.kind import FileBody
from serving.model.inputs.registry import find_kind
from serving.model.predictor import load_predictor
from serving.model.schemas import ErrorDetail, Prediction


@dataclass(frozen=True)
class Asked:
    """What is to be predicted: a file, or a text."""

    file: Path | None = None
    text: str | None = None

    def read(self) -> bytes:
        """Its bytes; raises OSError."""
        return self.file.read_bytes() if self.file else (self.text or "").encode(errors="surrogateescape")

    def __str__(self) -> str:
        """On one line, whatever is in it."""
        return " ".join(str(self.file or self.text).split()).encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class Answer:
    """A prediction, or the reason that there is none."""

    asked: Asked
    prediction: Prediction | None
    error: ErrorDetail | None

    def to_json(self) -> dict[str, object]:
        """The prediction as the service answers it, with the file's name or the text."""
        name = {"file": str(self.asked.file)} if self.asked.file else {"text": self.asked.text}
        if self.prediction is not None:
            return {**name, **self.prediction.to_json()}
        return {**name, "error": self.error and self.error.to_json()}

    def to_text(self) -> str:
        """One line."""
        if self.prediction is None:
            return f"{self.asked}: error: {self.error.message if self.error else 'unknown'}"
        others = ", ".join(
            f"{label} {probability:.4f}" for label, probability in self.prediction.probabilities.items()
        )
        cut = self.prediction.truncation
        said = f", read up to token {cut.used} of {cut.tokens}" if cut else ""
        return f"{self.asked}: {self.prediction.label} ({others}){said}"


def predict_all(run: Path, asked: Sequence[Asked], artifact: str | None = None) -> list[Answer]:
    """Predict everything, in order; what cannot be read or decoded gets an error of its own.

    Args:
        run: A run's folder, or a bundle's.
        asked: Files or texts of the bundle's modality.
        artifact: A published artifact's name; by default what a benchmark recommends, or the bundle's first.

    Raises:
        GraftError: A text is asked for, but the run takes files.
    """
    predictor = load_predictor(find_bundle(run), artifact=artifact)
    kind = find_kind(predictor.manifest.input.modality)
    if isinstance(kind.body, FileBody) and any(one.text is not None for one in asked):
        raise GraftError(f"{run}: takes {kind.plural}. Name their files; --text is for runs on texts.")

    def predict_one(one: Asked) -> Answer:
        try:
            answer = predictor.predict_or_error(one.read())
        except OSError as error:
            return Answer(
                one, None, ErrorDetail(code="unreadable_file", message=error.strerror or str(error))
            )
        return (
            Answer(one, answer, None) if isinstance(answer, Prediction) else Answer(one, None, answer.error)
        )

    with ThreadPoolExecutor(predictor.callers) as pool:
        return list(track(pool.map(predict_one, asked), total=len(asked), what="predict", unit="inputs"))


def describe_predictions(results: Sequence[Answer]) -> str:
    """One line a file."""
    return "\n".join(result.to_text() for result in results)
