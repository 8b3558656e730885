"""The path from bytes to predictions, which the service, ``graft predict`` and the verification share."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.bundle import Bundle, open_bundle
from serving.model.decision import most_probable
from serving.model.errors import BundleError, InputRefusedError, ProviderError
from serving.model.inputs.item import Item, Preprocessor
from serving.model.inputs.registry import find_kind, open_preprocessor
from serving.model.manifest import DEFAULTS_FILE, Artifact, Defaults
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.opening import open_session
from serving.model.runtimes.plan import require_match
from serving.model.runtimes.session import Session
from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation
from serving.model.timings import Timings

log = logging.getLogger("graft")
# Threads within one run of the model if no benchmark recommends a number. With more, each thread's share of a
# small network's run is too short to be worth handing over.
MOST_THREADS = 4


class Predictor:
    """A bundle's preprocessor and a session on one of its artifacts. It is thread-safe.

    Args:
        bundle: An opened bundle.
        preprocessor: The preprocessor of the bundle's input spec.
        artifact: One of the bundle's artifacts.
        session: A session on that artifact.
    """

    def __init__(
        self, bundle: Bundle, preprocessor: Preprocessor, artifact: Artifact, session: Session
    ) -> None:
        self.manifest = bundle.manifest
        self.kind = find_kind(bundle.manifest.input.modality)
        self.artifact = artifact
        self.preprocessor = preprocessor
        self.session = session
        self.callers = cpu_limit()
        self._model = ModelInfo(name=bundle.manifest.name, version=self.version, artifact=artifact.name)

    def decode(self, data: bytes) -> Item:
        """Decode one input.

        Args:
            data: The bytes of the input.

        Raises:
            InputRefusedError: The bytes are not an acceptable input.
        """
        return self.preprocessor.decode(data)

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Run the model on decoded inputs, in as many runs as the artifact's ``max_batch_size`` requires.

        Args:
            arrays: The decoded inputs; at least one.

        Returns:
            Calibrated probabilities, float32 of shape (inputs, labels).
        """
        size = self.artifact.max_batch_size or len(arrays)
        batches = [arrays[start : start + size] for start in range(0, len(arrays), size)]
        rows = [self.session.run(self.preprocessor.collate(batch)) for batch in batches]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    @property
    def version(self) -> str:
        """The version of the model, from the bundle's manifest."""
        return self.manifest.version

    @property
    def info(self) -> ModelInfo:
        """The model and artifact that are named in every prediction."""
        return self._model

    def predict(self, data: bytes, timings: Timings | None = None) -> Prediction:
        """Predict one input.

        Args:
            data: The bytes of the input.
            timings: Where the time that decoding and the model take is added. It is discarded by default.

        Raises:
            InputRefusedError: The bytes are not an acceptable input.
        """
        timings = timings or Timings()
        item = self.timed_decode(data, timings)
        start = time.perf_counter()
        probabilities = self.score([item.array])[0]
        timings.session_s += time.perf_counter() - start
        return self.describe(probabilities, item.truncation)

    def predict_or_error(self, data: bytes, timings: Timings | None = None) -> Prediction | ErrorBody:
        """Call :meth:`predict`, but return a refusal, so that it does not fail the other items of a batch."""
        try:
            return self.predict(data, timings)
        except InputRefusedError as refusal:
            return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))

    def timed_decode(self, data: bytes, timings: Timings) -> Item:
        """Call :meth:`decode`, and add the time that it takes to the timings."""
        start = time.perf_counter()
        try:
            return self.decode(data)
        finally:
            timings.decode_s += time.perf_counter() - start

    def describe(
        self, probabilities: NDArray[np.float32], truncation: Truncation | None = None
    ) -> Prediction:
        """Convert the probabilities of one input to a prediction.

        Args:
            probabilities: One row of :meth:`score`, float32 of shape (labels,).
            truncation: What was cut off the input, or None, the default, if nothing was.
        """
        by_label = dict(zip(self.manifest.labels, probabilities.tolist(), strict=True))
        label = self.manifest.labels[int(most_probable(probabilities))]
        return Prediction(
            label=label,
            probability=by_label[label],
            probabilities=by_label,
            model=self._model,
            truncation=truncation,
        )


def load_predictor(
    folder: Path,
    *,
    artifact: str | None = None,
    fallback: str | None = None,
    threads: int | None = None,
    require_receipts: bool = True,
) -> Predictor:
    """Open a bundle, load one of its artifacts and warm it up.

    Args:
        folder: The bundle's folder.
        artifact: Name of the artifact, such as ``onnx-int8``. The default is the one that a benchmark
            recommends, or else the bundle's first.
        fallback: Name of the artifact to load if that one cannot run on this machine; every prediction then
            names it. By default there is none.
        threads: Number of threads within one run. The default is the number that a benchmark recommends for
            the artifact, or else four; in both cases at most the number of CPUs.
        require_receipts: Whether a bundle that is not proven is refused. The default is True.

    Raises:
        BundleError: The bundle must not be served, or has no artifact of a given name.
        ProviderError: The artifact cannot run on this machine, and there is no fallback that can.
    """
    bundle = open_bundle(folder, require_receipts=require_receipts)
    chosen = bundle.artifact(artifact)
    substitute = bundle.artifact(fallback) if fallback else None
    try:
        return warm(_load(bundle, chosen, threads))
    except ProviderError as error:
        if substitute is None and artifact is None and bundle.defaults is not None:
            raise ProviderError(error.code, f"{error.message} {_advice(bundle.defaults, bundle)}") from error
        if substitute is None:
            raise
        log.warning("serving %s instead of %s: %s", substitute.name, chosen.name, error.message)
        return warm(_load(bundle, substitute, threads))


def _advice(defaults: Defaults, bundle: Bundle) -> str:
    return (
        f"It is the default because a benchmark chose it on {defaults.measured_on} ({DEFAULTS_FILE}). "
        f"Measure here: graft benchmark RUN, or name another: --artifact {bundle.manifest.artifacts[0].name}"
    )


def _load(bundle: Bundle, artifact: Artifact, threads: int | None) -> Predictor:
    measured = bundle.defaults if bundle.defaults and bundle.defaults.artifact == artifact.name else None
    recommended = measured.threads if measured else MOST_THREADS
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
    """Run a blank input, so that one-time initialisation does not slow down the first request.

    Returns:
        The predictor itself.

    Raises:
        BundleError: ``wrong_input`` if the model does not accept the input that the manifest describes.
        ProviderError: ``run_failed`` if an accelerator fails to run the model.
    """
    try:
        predictor.score([predictor.preprocessor.blank()])
    # onnxruntime raises one type of error for each of its status codes, without a common base class.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if predictor.artifact.runtime in {"onnxruntime-cuda", "onnxruntime-tensorrt"}:
            # The likely causes are the GPU's memory, its driver or a missing kernel, not the bundle.
            text = f"{predictor.artifact.name} loads, but its first run fails ({reason})."
            raise ProviderError("run_failed", text) from error
        text = f"The model does not run on the input that its manifest describes ({reason})."
        raise BundleError("wrong_input", text) from error
    return predictor
