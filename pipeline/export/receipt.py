"""The receipt: an artifact against the checkpoint, on the whole test split, through the code that serves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.samples import Sample
from pipeline.evaluate.calibration import softmax
from pipeline.evaluate.metrics import summarise
from pipeline.machine import cpu_name
from pipeline.progress import track
from pipeline.versions import installed_versions
from serving.predictor import Predictor
from serving.runtime import cpu_limit

BATCH_SIZES = (2, 7, 32)
BATCHED_SAMPLES = 1024  # of a larger split as many, evenly spread, are scored in batches too
CHUNK = 224  # the least common multiple of the batch sizes: only the last chunk has partial batches
SMALLEST = np.finfo(np.float32).tiny
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What an artifact of one precision must keep to.

    Attributes:
        max_abs_logits: Largest difference of a logit (both centred: a softmax does not see a constant); None where it is only reported.
        min_cosine: Least cosine of a sample's two probability vectors.
        min_agreement: Least share of equal answers, among samples whose margin exceeds ``margin``.
        margin: Difference of the two largest probabilities below which a flip is a tie.
        max_mean_kl: Largest mean Kullback-Leibler divergence from the checkpoint, in nats.
        max_metric_drop: Largest loss of accuracy or macro F1.
        max_batch_difference: Largest difference of a probability between batch sizes.
        max_sum_error: Largest distance of a row's sum from 1.
    """

    max_abs_logits: float | None
    min_cosine: float
    min_agreement: float
    margin: float
    max_mean_kl: float
    max_metric_drop: float
    max_batch_difference: float
    max_sum_error: float


LIMITS = {
    "onnx-fp32": Limits(
        max_abs_logits=1e-4,
        min_cosine=0.99999,
        min_agreement=1.0,
        margin=1e-3,
        max_mean_kl=1e-6,
        max_metric_drop=0.0,
        max_batch_difference=1e-5,
        max_sum_error=1e-5,
    ),
    "onnx-int8": Limits(
        max_abs_logits=None,
        min_cosine=0.98,
        min_agreement=0.98,
        margin=0.0,
        max_mean_kl=1e-2,
        max_metric_drop=0.005,
        max_batch_difference=1e-5,
        max_sum_error=1e-5,
    ),
}


@dataclass(frozen=True)
class Reference:
    """What the torch checkpoint said of the test split, in fp32 and evaluation mode.

    Attributes:
        logits: float32 of shape (samples, classes), uncalibrated.
        targets: Class indices, shape (samples,).
        sha256: Each sample's content hash.
        temperature: What the artifact must divide the logits by.
        checkpoint_sha256: Of the weights that gave the logits.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    sha256: list[str]
    temperature: float
    checkpoint_sha256: str


@dataclass(frozen=True)
class Scores:
    """An artifact's probabilities, float32 of shape (samples, classes).

    Attributes:
        single: Of every sample, one a run, as the service runs them.
        batched: Of some of them, in batches of each size that the artifact runs; texts among others of other lengths, and so padded.
        chosen: The indices of those, shape (samples in batches,).
    """

    single: NDArray[np.float32]
    batched: dict[int, NDArray[np.float32]]
    chosen: NDArray[np.int64]


def build_receipt(predictor: Predictor, samples: Sequence[Sample], reference: Reference, limits: Limits) -> dict[str, Any]:
    """Score every sample from its original bytes, alone and in batches of 2, 7 and 32, and compare.

    Args:
        predictor: The artifact, loaded as the service loads it.
        samples: The whole test split.
        reference: The checkpoint's answers on the same samples in the same order.
        limits: Of the artifact's precision.

    Returns:
        The receipt as JSON: every measured figure, each check with its limit, and ``passed``.
    """
    scores = score(predictor, samples)
    measured = compare(scores, reference, limits.margin)
    checks = list(_check(measured, limits))
    return {
        "artifact": predictor.artifact.name,
        "artifact_sha256": predictor.artifact.sha256,
        "checkpoint_sha256": reference.checkpoint_sha256,
        "provider": predictor.session.provider,
        "cpu": cpu_name(),
        "versions": installed_versions(),
        "batch_sizes": [1, *scores.batched],
        "samples_in_batches": len(scores.chosen) if scores.batched else 0,
        **measured,
        "limits": asdict(limits),
        "checks": checks,
        "flips": _flips(scores.single, reference, samples, predictor.manifest.labels),
        "passed": all(check["passed"] for check in checks),
    }


def score(predictor: Predictor, samples: Sequence[Sample]) -> Scores:
    """Every sample alone; and, of at most about a thousand that are evenly spread, each in batches."""
    single: list[NDArray[np.float32]] = []
    most = predictor.artifact.max_batch_size or max(BATCH_SIZES)
    batched: dict[int, list[NDArray[np.float32]]] = {size: [] for size in BATCH_SIZES if size <= most}
    chosen = np.linspace(0, len(samples) - 1, min(BATCHED_SAMPLES, len(samples))).round().astype(np.int64)

    def alone(sample: Sample) -> NDArray[np.float32]:
        return predictor.score([predictor.decode(sample.read()).array])

    with ThreadPoolExecutor(cpu_limit()) as pool:
        single += track(pool.map(alone, samples), total=len(samples), what="verify", unit="samples")
        for start in range(0, len(chosen) if batched else 0, CHUNK):
            arrays = [predictor.decode(samples[index].read()).array for index in chosen[start : start + CHUNK]]
            for size in batched:
                batched[size] += pool.map(predictor.score, (arrays[first : first + size] for first in range(0, len(arrays), size)))
    return Scores(np.concatenate(single), {size: np.concatenate(parts) for size, parts in batched.items()}, chosen)


def compare(scores: Scores, reference: Reference, margin: float) -> dict[str, Any]:
    """Every figure of the receipt, from the artifact's probabilities and the checkpoint's logits."""
    ours, theirs = scores.single.astype(np.float64), softmax(reference.logits, reference.temperature)
    not_finite = sum(int((~np.isfinite(rows)).sum()) for rows in (scores.single, *scores.batched.values()))
    if ours.shape != theirs.shape or not_finite:
        return {"samples": len(theirs), "shape": list(ours.shape), "expected_shape": list(theirs.shape), "not_finite": not_finite}
    # Both from probabilities, since what is smaller than float32 can hold is lost to the one that is served.
    differences = np.abs(_centred_logits(ours, reference.temperature) - _centred_logits(theirs, reference.temperature)).max(axis=1)
    agree = ours.argmax(axis=1) == theirs.argmax(axis=1)
    ranked = np.sort(theirs, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > margin
    alone = scores.single[scores.chosen]
    before, after = summarise(theirs, reference.targets), summarise(ours, reference.targets)
    return {
        "samples": len(theirs),
        "agreeing": int(agree.sum()),
        "not_finite": not_finite,
        "agreement": float(agree[clear].mean()) if clear.any() else 1.0,
        "ties": int((~clear).sum()),
        "max_abs_logits": float(differences.max()),
        "p99_abs_logits": float(np.quantile(differences, 0.99)),
        "logit_scale": float(np.abs(_centre(reference.logits.astype(np.float64))).max()),
        "max_abs_probabilities": float(np.abs(ours - theirs).max()),
        "min_cosine": float(_cosine(ours, theirs).min()),
        "mean_kl": float(_kl(theirs, ours).mean()),
        "metric_drop": max(before[name] - after[name] for name in ("accuracy", "macro_f1")),
        "metrics_checkpoint": before,
        "metrics_artifact": after,
        "batch_difference": max((float(np.abs(rows - alone).max()) for rows in scores.batched.values()), default=0.0),
        "batch_flips": sum(
            int((rows.argmax(axis=1) != alone.argmax(axis=1))[clear[scores.chosen]].sum()) for rows in scores.batched.values()
        ),
        "sum_error": float(np.abs(ours.sum(axis=1) - 1).max()),
    }


def _check(measured: dict[str, Any], limits: Limits) -> Iterator[dict[str, Any]]:
    if "shape" in measured:
        same = measured["shape"] == measured["expected_shape"]
        yield {"name": "wrong_shape", "value": int(not same), "limit": 0, "passed": same}
        yield {"name": "not_finite", "value": measured["not_finite"], "limit": 0, "passed": measured["not_finite"] == 0}
        return
    highest = {
        "not_finite": 0,
        "max_abs_logits": limits.max_abs_logits,
        "mean_kl": limits.max_mean_kl,
        "metric_drop": limits.max_metric_drop,
        "batch_difference": limits.max_batch_difference,
        "batch_flips": 0,
        "sum_error": limits.max_sum_error,
    }
    lowest = {"min_cosine": limits.min_cosine, "agreement": limits.min_agreement}
    for name, limit in highest.items():
        if limit is None:
            continue
        yield {"name": name, "value": measured[name], "limit": limit, "passed": measured[name] <= limit}
    for name, limit in lowest.items():
        yield {"name": name, "value": measured[name], "limit": limit, "passed": measured[name] >= limit}


def _flips(ours: NDArray[np.float32], reference: Reference, samples: Sequence[Sample], labels: Sequence[str]) -> list[dict[str, str]]:
    """The samples that the artifact answers otherwise than the checkpoint."""
    if ours.shape != reference.logits.shape:
        return []
    pairs = zip(samples, reference.logits.argmax(axis=1), ours.argmax(axis=1), strict=True)
    return [
        {"sha256": sample.sha256, "checkpoint": labels[theirs], "artifact": labels[own]} for sample, theirs, own in pairs if theirs != own
    ]


def _centre(logits: Floats) -> Floats:
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def _centred_logits(probabilities: Floats, temperature: float) -> Floats:
    return _centre(np.log(np.maximum(probabilities, SMALLEST)) * temperature)


def _cosine(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def _kl(p: Floats, q: Floats) -> Floats:
    return np.asarray((p * (np.log(np.maximum(p, SMALLEST)) - np.log(np.maximum(q, SMALLEST)))).sum(axis=1))
