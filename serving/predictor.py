"""Bytes in, predictions out: the one path that the service, ``graft predict`` and the verification share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Artifact, Bundle, open_bundle
from serving.errors import BundleError, InputRefusedError
from serving.inputs.item import Item, Preprocessor
from serving.inputs.preprocessors import open_preprocessor
from serving.runtime import Device, OnnxSession, Session
from serving.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation


class Predictor:
    """A bundle's preprocessor and a session on one of its artifacts. Its methods may be called from several threads at once.

    Args:
        bundle: An opened bundle.
        preprocessor: Of its input spec.
        artifact: One of its artifacts.
        session: A session on that.
    """

    def __init__(self, bundle: Bundle, preprocessor: Preprocessor, artifact: Artifact, session: Session) -> None:
        self.manifest = bundle.manifest
        self.artifact = artifact
        self.preprocessor = preprocessor
        self.session = session
        self._model = ModelInfo(name=bundle.manifest.name, version=bundle.manifest.version)

    def decode(self, data: bytes) -> Item:
        """Turn the bytes of one input into one item of the model's input; raises InputRefusedError."""
        return self.preprocessor.decode(data)

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Calibrated probabilities, float32 of shape (batch, labels), of decoded arrays."""
        most = self.artifact.max_batch_size or len(arrays)
        parts = [self.session.run(self.preprocessor.collate(arrays[start : start + most])) for start in range(0, len(arrays), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def predict(self, data: bytes) -> Prediction:
        """Predict one input from its bytes; raises InputRefusedError."""
        item = self.decode(data)
        return self.describe(self.score([item.array])[0], item.truncation)

    def predict_or_error(self, data: bytes) -> Prediction | ErrorBody:
        """Predict one item of a batch; a refusal is an answer too, so that it never fails its neighbours."""
        try:
            return self.predict(data)
        except InputRefusedError as refusal:
            return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

    def describe(self, probabilities: NDArray[np.float32], truncation: Truncation | None = None) -> Prediction:
        """Name one row of probabilities, float32 of shape (labels,)."""
        by_label = dict(zip(self.manifest.labels, probabilities.tolist(), strict=True))
        label = self.manifest.labels[int(probabilities.argmax())]
        return Prediction(label=label, probability=by_label[label], probabilities=by_label, model=self._model, truncation=truncation)


def load_predictor(
    folder: Path, *, artifact: str | None = None, device: Device = "cpu", threads: int = 1, require_receipts: bool = True
) -> Predictor:
    """Open a bundle, load one of its artifacts and warm it up.

    Args:
        folder: The bundle's folder.
        artifact: The artifact's name, such as ``onnx-int8``; by default the bundle's first.
        device: Where to run it.
        threads: Threads within one run.
        require_receipts: Refuse a bundle that is not proven.

    Raises:
        BundleError: The bundle must not be served, or has no such artifact.
        ProviderError: The device is not there.
    """
    bundle = open_bundle(folder, require_receipts=require_receipts)
    chosen = bundle.artifact(artifact)
    session = OnnxSession(bundle.path_of(chosen), device=device, threads=threads)
    return warm(Predictor(bundle, open_preprocessor(bundle.manifest.input, bundle.folder), chosen, session))


def warm(predictor: Predictor) -> Predictor:
    """Run a blank input, so that the first request does not pay for what happens once.

    Raises:
        BundleError: The model does not take the inputs that the manifest describes.
    """
    try:
        predictor.score([predictor.preprocessor.blank()])
    except Exception as error:  # onnxruntime has a type of error for each of its status codes, and no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BundleError("wrong_input", f"The model does not run on the input that its manifest describes ({reason}).") from error
    return predictor
