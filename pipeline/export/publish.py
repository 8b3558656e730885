"""A further artifact into the bundle, if its receipt passes and it is worth it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from pipeline import atomic
from pipeline.data.samples import Sample
from pipeline.export.receipt import LIMITS, Reference, build_receipt
from pipeline.layout import RunFolder
from serving.bundle import MANIFEST_FILE, Artifact, ReceiptRef, open_bundle
from serving.files import hash_file
from serving.predictor import Predictor, warm
from serving.runtime import OnnxSession

TIMED_SAMPLES = 64
ROUNDS = 5


def publish(run: RunFolder, name: str, source: Predictor, samples: Sequence[Sample], reference: Reference) -> str:
    """Measure an artifact, and put it into the bundle when it keeps to the limits of its precision and is faster than fp32.

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
    predictor = warm(Predictor(bundle, source.preprocessor, artifact, OnnxSession(made)))
    receipt = build_receipt(predictor, samples, reference, LIMITS[name])
    speed = measure_speedup(source, predictor, samples)
    receipt["speedup"] = speed
    path = run.bundle / "receipts" / f"{name}.json"
    failed = [f"{check['name']} is {check['value']:.4g}, limit {check['limit']:g}" for check in receipt["checks"] if not check["passed"]]
    said = f"{speed['median']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}] times as fast as fp32 on one thread"
    for stale in (path, run.bundle / artifact.file):
        stale.unlink(missing_ok=True)
    if failed or speed["median"] <= 1:
        atomic.write_json(run.published.with_name(f"{name}.json"), receipt)
        return f"not published, because {'; '.join(failed) or 'it is not faster'} ({said})"
    atomic.write_json(path, receipt)
    atomic.write_bytes(run.bundle / artifact.file, made.read_bytes())
    ref = ReceiptRef(file=path.relative_to(run.bundle).as_posix(), sha256=hash_file(path), passed=True)
    signed = bundle.manifest.model_copy(update={"artifacts": (*bundle.manifest.artifacts, artifact.model_copy(update={"receipt": ref}))})
    atomic.write_json(run.bundle / MANIFEST_FILE, signed.model_dump(mode="json"))
    return f"published: {receipt['agreeing']} of {receipt['samples']} answers agree, {said}"


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
