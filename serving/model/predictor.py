"""Bytes in, predictions out: the one path that the service, ``graft predict`` and the verification share."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.bundle import Bundle, open_bundle
from serving.model.errors import BundleError, InputRefusedError, ProviderError
from serving.model.inputs.item import Item, Preprocessor
from serving.model.inputs.preprocessors import open_preprocessor
from serving.model.manifest import DEFAULTS_FILE, Artifact, Defaults
from serving.model.runtimes.cpu import cpu_limit
from serving.model.runtimes.opening import open_session
from serving.model.runtimes.plan import require_match
from serving.model.runtimes.session import Session
from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation
from serving.model.timings import Timings

log = logging.getLogger("graft")
# Within one run, where no benchmark says otherwise. Beyond them the parts of a small network's run are too short to be worth handing on.
MOST_THREADS = 4


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
        self.callers = cpu_limit()
        self._model = ModelInfo(name=bundle.manifest.name, version=bundle.manifest.version, artifact=artifact.name)

    def decode(self, data: bytes) -> Item:
        """Turn the bytes of one input into one item of the model's input; raises InputRefusedError."""
        return self.preprocessor.decode(data)

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Calibrated probabilities, float32 of shape (batch, labels), of decoded arrays."""
        most = self.artifact.max_batch_size or len(arrays)
        parts = [self.session.run(self.preprocessor.collate(arrays[start : start + most])) for start in range(0, len(arrays), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def version(self) -> str:
        """The bundle's."""
        return self.manifest.version

    @property
    def info(self) -> ModelInfo:
        """What answers name."""
        return self._model

    def predict(self, data: bytes, timings: Timings | None = None) -> Prediction:
        """Predict one input from its bytes, and add to the timings what it took; raises InputRefusedError."""
        timings = timings or Timings()
        item = self.timed_decode(data, timings)
        start = time.perf_counter()
        probabilities = self.score([item.array])[0]
        timings.session_s += time.perf_counter() - start
        return self.describe(probabilities, item.truncation)

    def predict_or_error(self, data: bytes, timings: Timings | None = None) -> Prediction | ErrorBody:
        """Predict one item of a batch; a refusal is an answer too, so that it never fails its neighbours."""
        try:
            return self.predict(data, timings)
        except InputRefusedError as refusal:
            return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

    def timed_decode(self, data: bytes, timings: Timings) -> Item:
        """:meth:`decode`, and add to the timings what it took."""
        start = time.perf_counter()
        try:
            return self.decode(data)
        finally:
            timings.decode_s += time.perf_counter() - start

    def describe(self, probabilities: NDArray[np.float32], truncation: Truncation | None = None) -> Prediction:
        """Name one row of probabilities, float32 of shape (labels,)."""
        by_label = dict(zip(self.manifest.labels, probabilities.tolist(), strict=True))
        label = self.manifest.labels[int(probabilities.argmax())]
        return Prediction(label=label, probability=by_label[label], probabilities=by_label, model=self._model, truncation=truncation)


def load_predictor(
    folder: Path, *, artifact: str | None = None, fallback: str | None = None, threads: int | None = None, require_receipts: bool = True
) -> Predictor:
    """Open a bundle, load one of its artifacts and warm it up.

    Args:
        folder: The bundle's folder.
        artifact: The artifact's name, such as ``onnx-int8``; by default the one that a benchmark recommends, or the bundle's first.
        fallback: The name of another, to serve where that one cannot be run here. Its name is then in every answer.
        threads: Threads within one run; by default what the benchmark recommends with its artifact, or one a CPU, up to four.
        require_receipts: Refuse a bundle that is not proven.

    Raises:
        BundleError: The bundle must not be served, or has no such artifact.
        ProviderError: What the artifact asks for is not here, and there is no fallback.
    """
    bundle = open_bundle(folder, require_receipts=require_receipts)
    chosen = bundle.artifact(artifact)
    other = bundle.artifact(fallback) if fallback else None
    try:
        return warm(_load(bundle, chosen, threads))
    except ProviderError as error:
        if other is None and artifact is None and bundle.defaults is not None:
            raise ProviderError(error.code, f"{error.message} {_advice(bundle.defaults, bundle)}") from error
        if other is None:
            raise
        log.warning("serving %s instead of %s: %s", other.name, chosen.name, error.message)
        return warm(_load(bundle, other, threads))


def _advice(defaults: Defaults, bundle: Bundle) -> str:
    return (
        f"It is the default because a benchmark chose it on {defaults.measured_on} ({DEFAULTS_FILE}). Measure here: graft benchmark RUN, "
        f"or name another: --artifact {bundle.manifest.artifacts[0].name}"
    )


def _load(bundle: Bundle, artifact: Artifact, threads: int | None) -> Predictor:
    recommended = bundle.defaults.threads if bundle.defaults and bundle.defaults.artifact == artifact.name else MOST_THREADS
    if artifact.plan:
        require_match(bundle.folder, artifact.plan)
    session = open_session(
        bundle.path_of(artifact),
        artifact.runtime,
        artifact.precision,
        threads=threads or min(recommended, cpu_limit()),
        callers=cpu_limit(),
    )
    return Predictor(bundle, open_preprocessor(bundle.manifest.input, bundle.folder), artifact, session)


def warm(predictor: Predictor) -> Predictor:
    """Run a blank input, so that the first request does not pay for what happens once.

    Raises:
        BundleError: The model does not take the inputs that the manifest describes.
        ProviderError: An accelerator fails to run it.
    """
    try:
        predictor.score([predictor.preprocessor.blank()])
    except Exception as error:  # onnxruntime has a type of error for each of its status codes, and no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if predictor.artifact.runtime in {"onnxruntime-cuda", "onnxruntime-tensorrt"}:  # its memory, its driver, a missing kernel
            raise ProviderError("run_failed", f"{predictor.artifact.name} loads, but its first run fails ({reason}).") from error
        raise BundleError("wrong_input", f"The model does not run on the input that its manifest describes ({reason}).") from error
    return predictor
