"""Bytes in, predictions out: the one path that the service, ``graft predict`` and the verification share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle, open_bundle
from serving.errors import InputRefusedError
from serving.inputs.image import decode_image
from serving.runtime import Device, OnnxSession, Session
from serving.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction


class Predictor:
    """A bundle and a session on one of its artifacts. Its methods may be called from several threads at once.

    Args:
        bundle: An opened bundle.
        session: A session on one of its artifacts.
    """

    def __init__(self, bundle: Bundle, session: Session) -> None:
        self.manifest = bundle.manifest
        self.session = session
        self._model = ModelInfo(name=bundle.manifest.name, version=bundle.manifest.version)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Turn the bytes of one input into one uint8 HWC item of the model's input; raises InputRefusedError."""
        return decode_image(data, self.manifest.input)

    def score(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated probabilities, float32 of shape (batch, labels), of decoded inputs of shape (batch, H, W, 3)."""
        return self.session.run(batch)

    def predict(self, data: bytes) -> Prediction:
        """Predict one input from its bytes; raises InputRefusedError."""
        return self.describe(self.score(self.decode(data)[None])[0])

    def predict_or_error(self, data: bytes) -> Prediction | ErrorBody:
        """Predict one item of a batch; a refusal is an answer too, so that it never fails its neighbours."""
        try:
            return self.predict(data)
        except InputRefusedError as refusal:
            return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

    def describe(self, probabilities: NDArray[np.float32]) -> Prediction:
        """Name one row of probabilities, float32 of shape (labels,)."""
        by_label = dict(zip(self.manifest.labels, probabilities.tolist(), strict=True))
        label = self.manifest.labels[int(probabilities.argmax())]
        return Prediction(label=label, probability=by_label[label], probabilities=by_label, model=self._model)


def load_predictor(folder: Path, *, device: Device = "cpu", threads: int = 1, require_receipts: bool = True) -> Predictor:
    """Open a bundle, load its default artifact and warm it up.

    Raises:
        BundleError: The bundle must not be served.
        ProviderError: The device is not there.
    """
    bundle = open_bundle(folder, require_receipts=require_receipts)
    predictor = Predictor(bundle, OnnxSession(bundle.path_of(bundle.manifest.artifacts[0]), device=device, threads=threads))
    spec = bundle.manifest.input
    predictor.score(np.zeros((1, spec.height, spec.width, 3), np.uint8))
    return predictor
