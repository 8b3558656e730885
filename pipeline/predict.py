"""Predict files through the predictor that the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.layout import RunFolder
from pipeline.progress import track
from serving.predictor import load_predictor
from serving.runtime import cpu_limit
from serving.schemas import ErrorDetail, Prediction


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

    def predict_one(file: Path) -> FileResult:
        try:
            answer = predictor.predict_or_error(file.read_bytes())
        except OSError as error:
            return FileResult(file, None, ErrorDetail(code="unreadable_file", message=error.strerror or str(error)))
        return FileResult(file, answer, None) if isinstance(answer, Prediction) else FileResult(file, None, answer.error)

    with ThreadPoolExecutor(cpu_limit()) as pool:
        return list(track(pool.map(predict_one, files), total=len(files), what="predict", unit="files"))


def describe_predictions(results: Sequence[FileResult]) -> str:
    """One line a file."""
    return "\n".join(result.to_text() for result in results)
