"""Predict files through the predictor that the service runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.layout import RunFolder
from serving.predictor import load_predictor
from serving.schemas import ErrorBody, ErrorDetail, Prediction


@dataclass(frozen=True)
class FileResult:
    """A file and its prediction, or the reason that there is none."""

    file: Path
    prediction: Prediction | None
    error: ErrorDetail | None

    def to_json(self) -> dict[str, Any]:
        """The prediction as the service answers it, with the file's name."""
        body = self.prediction.model_dump() if self.prediction else {"error": self.error and self.error.model_dump()}
        return {"file": str(self.file), **body}

    def to_text(self) -> str:
        """One line."""
        if self.prediction is None:
            return f"{self.file}: error: {self.error.message if self.error else 'unknown'}"
        others = ", ".join(f"{label} {probability:.4f}" for label, probability in self.prediction.probabilities.items())
        return f"{self.file}: {self.prediction.label} ({others})"


def predict_files(run: Path, files: Sequence[Path]) -> list[FileResult]:
    """Predict every file, in order; a file that cannot be read or decoded gets an error of its own.

    Args:
        run: A run's folder, or a bundle's.
        files: Files of the bundle's modality.
    """
    folder = RunFolder(run).bundle
    predictor = load_predictor(folder if folder.is_dir() else run)
    contents = [_read(file) for file in files]
    answers = predictor.predict_many(content for content in contents if isinstance(content, bytes))
    return list(_pair(files, contents, answers))


def _read(file: Path) -> bytes | ErrorDetail:
    try:
        return file.read_bytes()
    except OSError as error:
        return ErrorDetail(code="unreadable_file", message=error.strerror or str(error))


def _pair(
    files: Sequence[Path], contents: Sequence[bytes | ErrorDetail], answers: Iterator[Prediction | ErrorBody]
) -> Iterator[FileResult]:
    for file, content in zip(files, contents, strict=True):
        answer = next(answers) if isinstance(content, bytes) else ErrorBody(error=content)
        if isinstance(answer, Prediction):
            yield FileResult(file, answer, None)
        else:
            yield FileResult(file, None, answer.error)


def describe_predictions(results: Sequence[FileResult]) -> str:
    """One line a file."""
    return "\n".join(result.to_text() for result in results)
