"""A further artifact into the bundle, if its receipt passes and it is worth it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline import atomic
from pipeline.data.samples import Sample
from pipeline.export.receipt import LIMITS, Reference, build_receipt
from pipeline.layout import RunFolder
from serving.bundle import MANIFEST_FILE, Artifact, Bundle, ReceiptRef, open_bundle
from serving.errors import ServingError
from serving.files import hash_file
from serving.predictor import Predictor, warm
from serving.runtime import OnnxSession

TIMED_SAMPLES = 64
ROUNDS = 5
WORTH_IT = 1.5  # times the speed of fp32: less is not worth another set of weights


def publish(run: RunFolder, name: str, source: Predictor, samples: Sequence[Sample], reference: Reference) -> str:
    """Measure an artifact, and put it into the bundle when it keeps to the limits of its precision and is much faster than fp32.

    Args:
        run: The run, whose bundle holds the proven fp32 artifact.
        name: The artifact, made by the stage before.
        source: The fp32 artifact's predictor, on one thread.
        samples: The test split.
        reference: What the checkpoint said of it.

    Returns:
        What became of it, for people: published, or not and why.
    """
    made = run.candidate(name)
    artifact = Artifact(name=name, file=f"model-{name.removeprefix('onnx-')}.onnx", sha256=hash_file(made), max_batch_size=1)
    bundle = open_bundle(run.bundle)
    receipt_file = run.bundle / "receipts" / f"{name}.json"
    for stale in (receipt_file, run.bundle / artifact.file):
        stale.unlink(missing_ok=True)
    try:
        predictor = warm(Predictor(bundle, source.preprocessor, artifact, OnnxSession(made)))
    except ServingError as error:
        return f"not published, because it cannot be run: {error.message}"
    receipt = build_receipt(predictor, samples, reference, LIMITS[name])
    speed = measure_speedup(source, predictor, samples)
    said = f"{speed['median']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}] times as fast as fp32 on one thread"
    reasons = [f"{check['name']} is {check['value']:.4g}, limit {check['limit']:g}" for check in receipt["checks"] if not check["passed"]]
    if speed["median"] < WORTH_IT:
        reasons.append(f"it is less than {WORTH_IT} times as fast as fp32")
    if reasons:
        atomic.write_json(run.published.with_name(f"{name}.json"), receipt)
        return f"not published, because {'; '.join(reasons)} ({said})"
    atomic.write_json(receipt_file, receipt)
    atomic.write_bytes(run.bundle / artifact.file, made.read_bytes())
    _enter(bundle, artifact.model_copy(update={"receipt": _reference_to(bundle, receipt_file)}))
    return f"published: {receipt['agreeing']} of {receipt['samples']} answers agree, {said}"


def _reference_to(bundle: Bundle, receipt: Path) -> ReceiptRef:
    return ReceiptRef(file=receipt.relative_to(bundle.folder).as_posix(), sha256=hash_file(receipt), passed=True)


def _enter(bundle: Bundle, artifact: Artifact) -> None:
    """Name the artifact in the manifest."""
    signed = bundle.manifest.model_copy(update={"artifacts": (*bundle.manifest.artifacts, artifact)})
    atomic.write_json(bundle.folder / MANIFEST_FILE, signed.model_dump(mode="json"))


def measure_speedup(source: Predictor, other: Predictor, samples: Sequence[Sample]) -> dict[str, float]:
    """How many times as fast another artifact is, one sample a run on one thread, in interleaved rounds: median and range."""
    arrays = [source.decode(sample.read()).array for sample in samples[:TIMED_SAMPLES]]

    def seconds(predictor: Predictor) -> float:
        start = time.perf_counter()
        for array in arrays:
            predictor.score([array])
        return time.perf_counter() - start

    for predictor in (source, other):
        seconds(predictor)
    ratios = [seconds(source) / seconds(other) for _ in range(ROUNDS)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "samples": len(arrays)}
