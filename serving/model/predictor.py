"""The path from bytes to predictions, which the service, ``graft predict`` and the verification share."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.batches import MOST_INPUTS, plan_runs
from serving.model.bundle import Bundle
from serving.model.decision import most_probable
from serving.model.errors import InputRefusedError, ProviderError
from serving.model.inputs.item import Item, Preprocessor
from serving.model.inputs.registry import find_kind, open_preprocessor
from serving.model.manifest import DEFAULTS_FILE, Artifact, Defaults, Manifest
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.session import Session
from serving.model.schemas import ErrorBody, ErrorDetail, ModelInfo, Prediction, Truncation
from serving.model.scorer import Scorer, load_scorer
from serving.model.signature import open_trusted
from serving.model.timings import Timings

log = logging.getLogger("graft")
# Threads within one run of the model if no benchmark recommends a number. With more, each thread's share of a
# small network's run is too short to be worth handing over.
MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says of one input.

    Attributes:
        probabilities: float32 of shape (labels,).
        truncation: What was cut off the input, or None if nothing was.
    """

    probabilities: NDArray[np.float32]
    truncation: Truncation | None


class Predictor:
    """A proven artifact of a bundle, loaded, and the labels that its probabilities are of. It is thread-safe.

    Args:
        manifest: The bundle's manifest.
        scorer: One of its artifacts, loaded.
    """

    def __init__(self, manifest: Manifest, scorer: Scorer) -> None:
        self.manifest = manifest
        self.scorer = scorer
        self.kind = find_kind(manifest.input.modality)
        self.callers = cpu_limit()
        self._model = ModelInfo(name=manifest.name, version=self.version, artifact=scorer.artifact.name)

    @property
    def artifact(self) -> Artifact:
        """The artifact that is loaded."""
        return self.scorer.artifact

    @property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor of the bundle's input spec."""
        return self.scorer.preprocessor

    @property
    def session(self) -> Session:
        """The session on the artifact."""
        return self.scorer.session

    def decode(self, data: bytes) -> Item:
        """Decode one input; see :meth:`serving.model.scorer.Scorer.decode`."""
        return self.scorer.decode(data)

    def score(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Run the model on decoded inputs; see :meth:`serving.model.scorer.Scorer.score`."""
        return self.scorer.score(arrays)

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
            return _to_error(refusal)

    def decode_or_error(self, data: bytes, timings: Timings) -> Item | ErrorBody:
        """Call :meth:`timed_decode`, but return a refusal."""
        try:
            return self.timed_decode(data, timings)
        except InputRefusedError as refusal:
            return _to_error(refusal)

    def predict_many(self, items: Sequence[bytes]) -> list[Prediction | ErrorBody]:
        """Predict many inputs, together where their kind gains from it.

        Args:
            items: The bytes of each input. All of them are decoded before the first is run.

        Returns:
            One prediction, or one error where the input was refused, for each item in order.
        """
        if not self.runs_together:
            return [self.predict_or_error(item) for item in items]
        decoded, rows = self._score_together(items)
        return self.describe_all(decoded, rows)

    def score_many(self, items: Sequence[bytes]) -> list[Scored | ErrorBody]:
        """Score many inputs as :meth:`predict_many` does, without naming what the numbers are of.

        Args:
            items: The bytes of each input.

        Returns:
            The probabilities, or one error where the input was refused, for each item in order.
        """
        if self.runs_together:
            decoded, rows = self._score_together(items)
        else:
            decoded = [self.decode_or_error(item, Timings()) for item in items]
            rows = [self.score([item.array])[0] for item in decoded if isinstance(item, Item)]
        of_items = iter(rows)
        return [
            item if isinstance(item, ErrorBody) else Scored(next(of_items), item.truncation)
            for item in decoded
        ]

    def _score_together(
        self, items: Sequence[bytes]
    ) -> tuple[list[Item | ErrorBody], list[NDArray[np.float32]]]:
        """Decode all inputs, and run those together that gain from it; return the rows of those decoded."""
        timings = Timings()
        decoded = [self.decode_or_error(item, timings) for item in items]
        arrays = [item.array for item in decoded if isinstance(item, Item)]
        rows: dict[int, NDArray[np.float32]] = {}
        for run in self.plan_runs(arrays):
            rows |= zip(run, self.score([arrays[index] for index in run]), strict=True)
        return decoded, [rows[index] for index in range(len(arrays))]

    @property
    def runs_together(self) -> bool:
        """Whether the inputs of a batch share runs, as the kind of input and the artifact say.

        On accelerators, inputs of all requests do.
        """
        return self.kind.run_elements is not None and self.artifact.max_batch_size != 1

    def plan_runs(self, arrays: Sequence[NDArray[Any]]) -> list[list[int]]:
        """Return the indices of the decoded inputs that share each run on a CPU."""
        if self.kind.run_elements is None:
            return [[index] for index in range(len(arrays))]
        most_inputs = min(self.artifact.max_batch_size or MOST_INPUTS, MOST_INPUTS)
        return plan_runs([array.size for array in arrays], self.kind.run_elements, most_inputs)

    def describe_all(
        self, decoded: Sequence[Item | ErrorBody], rows: Sequence[NDArray[np.float32]]
    ) -> list[Prediction | ErrorBody]:
        """Convert the probabilities of the items that could be decoded; the others keep their errors.

        Args:
            decoded: All items, in order.
            rows: The probabilities of each that is no error, float32 of shape (labels,).
        """
        of_items = iter(rows)
        return [
            item if isinstance(item, ErrorBody) else self.describe(next(of_items), item.truncation)
            for item in decoded
        ]

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


def _to_error(refusal: InputRefusedError) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(code=refusal.code, message=refusal.message))


def load_predictor(
    folder: Path,
    *,
    artifact: str | None = None,
    fallback: str | None = None,
    threads: int | None = None,
    trusted_keys: Path | None = None,
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
        trusted_keys: A PEM file of public keys and certificates, one of which must have signed the bundle.
            By default unsigned bundles are loaded too.

    Raises:
        BundleError: The bundle must not be served, or has no artifact of a given name.
        ProviderError: The artifact cannot run on this machine, and there is no fallback that can.
    """
    bundle = open_trusted(folder, trusted_keys)
    chosen = bundle.artifact(artifact)
    substitute = bundle.artifact(fallback) if fallback else None
    try:
        return _load(bundle, chosen, threads)
    except ProviderError as error:
        if substitute is None and artifact is None and bundle.defaults is not None:
            raise ProviderError(error.code, f"{error.message} {_advice(bundle.defaults, bundle)}") from error
        if substitute is None:
            raise
        log.warning("serving %s instead of %s: %s", substitute.name, chosen.name, error.message)
        return _load(bundle, substitute, threads)


def _advice(defaults: Defaults, bundle: Bundle) -> str:
    return (
        f"It is the default because a benchmark chose it on {defaults.measured_on} ({DEFAULTS_FILE}). "
        f"Measure here: graft benchmark RUN, or name another: --artifact {bundle.manifest.artifacts[0].name}"
    )


def _load(bundle: Bundle, artifact: Artifact, threads: int | None) -> Predictor:
    measured = bundle.defaults if bundle.defaults and bundle.defaults.artifact == artifact.name else None
    recommended = measured.threads if measured else MOST_THREADS
    preprocessor = open_preprocessor(bundle.manifest.input, bundle.folder)
    threads = threads or min(recommended, cpu_limit())
    scorer = load_scorer(bundle.folder, artifact, preprocessor, threads=threads, callers=cpu_limit())
    return Predictor(bundle.manifest, scorer)
