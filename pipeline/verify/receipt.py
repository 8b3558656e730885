"""The receipt: an artifact against the checkpoint, on the whole test split, through the code that serves it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import LIMITS, Limits
from pipeline.errors import GraftError
from pipeline.machine.settings import cpu_name
from pipeline.machine.versions import installed_versions, versions_of
from pipeline.measures.calibration import as_logits, expected_calibration_error, fit_temperature, softmax
from pipeline.measures.divergence import cosines, kl_divergences
from pipeline.measures.metrics import paired_differences, summarise
from pipeline.measures.reference import Reference
from pipeline.measures.temperature import as_logits_of
from pipeline.verify.scoring import Originals, Scores, score, score_alone
from serving.model.predictor import Predictor
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.session import Runtime

RESAMPLES = 500
RUNTIME_PACKAGES = ("openvino", "tensorrt-cu13", "nvidia-cudnn-cu13")


def build_receipt(
    predictor: Predictor, originals: Originals, reference: Reference, limits: Limits
) -> dict[str, Any]:
    """Score every sample from its original bytes, alone and in batches of 2, 7 and 32, and compare.

    Args:
        predictor: The artifact, loaded by the code that the service loads it by.
        originals: The samples of the reference, by content hash.
        reference: What the checkpoint answers.
        limits: Of the artifact's precision.

    Returns:
        The receipt as JSON: what was compared and where, every measured figure, each check with its limit,
            and ``passed``.
    """
    measured, flips = _measure(predictor, originals, reference, limits)
    checks = list(_check(measured, limits))
    return {
        **_identify(predictor),
        **measured,
        "limits": asdict(limits),
        "checks": checks,
        "flips": flips,
        "passed": all(check["passed"] for check in checks),
    }


def _measure(
    predictor: Predictor, originals: Originals, reference: Reference, limits: Limits
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Every figure, and the answers that differ."""
    labels = {
        "samples": len(reference.test.targets),
        "wrong_labels": int(predictor.manifest.labels != reference.labels),
    }
    try:
        scores = score(predictor, [originals[sha256] for sha256 in reference.test.sha256])
        on_validation = score_alone(
            predictor, [originals[sha256] for sha256 in reference.validation.sha256], "calibration"
        )
    except GraftError:  # a sample that changed is no fault of the artifact
        raise
    except (
        Exception
    ) as error:  # onnxruntime has a type of error for each of its status codes, and no common base
        return {**labels, "does_not_run": (str(error).splitlines() or [type(error).__name__])[0][:300]}, []
    batches = {
        "batch_sizes": [1, *scores.batched],
        "samples_in_batches": len(scores.chosen) if scores.batched else 0,
    }
    measured = labels | batches | compare(scores, reference, limits)
    if "expected_shape" in measured:
        return measured, []
    return measured | compare_calibration(scores.single, on_validation, reference), _flips(
        scores.single, reference
    )


def _identify(predictor: Predictor) -> dict[str, Any]:
    """What is compared, and what runs it here."""
    manifest, artifact = predictor.manifest, predictor.artifact
    return {
        "artifact": artifact.name,
        "runtime": artifact.runtime,
        "precision": artifact.precision,
        "in_use": predictor.session.in_use,
        "machine": {
            "system": platform.platform(),
            "cpu": cpu_name(),
            "cpus": cpu_limit(),
            "gpu": _gpu(artifact.runtime),
        },
        "versions": installed_versions() | versions_of(*RUNTIME_PACKAGES),
        "artifact_sha256": artifact.sha256,
        "plan": artifact.plan.model_dump(mode="json") if artifact.plan else None,
        "reference_sha256": manifest.reference.sha256,
        "labels_sha256": manifest.labels_sha256,
        "checkpoint_sha256": manifest.lineage.checkpoint_sha256,
        "data_sha256": manifest.lineage.data_sha256,
    }


def _gpu(runtime: Runtime) -> str | None:
    """The GPU's name, of what runs on one."""
    if runtime not in {"onnxruntime-cuda", "onnxruntime-tensorrt"}:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "unknown to torch"


def compare(scores: Scores, reference: Reference, limits: Limits) -> dict[str, Any]:
    """Every figure of the test split, from the artifact's probabilities and the checkpoint's logits."""
    temperature, targets = reference.temperature, reference.test.targets
    ours, theirs = scores.single.astype(np.float64), softmax(reference.test.logits, temperature)
    not_finite = sum(int((~np.isfinite(rows)).sum()) for rows in (scores.single, *scores.batched.values()))
    shapes = {
        ours.shape == theirs.shape,
        *(rows.shape == (len(scores.chosen), *theirs.shape[1:]) for rows in scores.batched.values()),
    }
    if shapes != {True} or not_finite:
        wrong = next(
            (rows.shape for rows in scores.batched.values() if len(rows) != len(scores.chosen)), ours.shape
        )
        return {
            "samples": len(theirs),
            "shape": list(wrong),
            "expected_shape": list(theirs.shape),
            "not_finite": not_finite,
        }
    # Both from probabilities, since what is smaller than float32 can hold is lost to the one that is served.
    own_logits, exact_logits = as_logits(ours, temperature), as_logits(theirs, temperature)
    differences = np.abs(own_logits - exact_logits).max(axis=1)
    agree = ours.argmax(axis=1) == theirs.argmax(axis=1)
    ranked = np.sort(theirs, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    clear = margins > limits.margin
    alone = scores.single[scores.chosen]
    before, after = summarise(theirs, targets), summarise(ours, targets)
    settled = summarise(np.where(clear[:, None], ours, theirs), targets)  # a tie may fall either way
    confidence = float((own_logits * exact_logits).sum() / (exact_logits**2).sum())
    sure = (margins > max(limits.margin, 2 * limits.max_batch_difference))[scores.chosen]
    return {
        "samples": len(theirs),
        "agreeing": int(agree.sum()),
        "not_finite": not_finite,
        "agreement": float(agree[clear].mean()) if clear.any() else 1.0,
        "ties": int((~clear).sum()),
        "max_abs_logits": float(differences.max()),
        "p99_abs_logits": float(np.quantile(differences, 0.99)),
        "logit_scale": float(
            np.abs(reference.test.logits - reference.test.logits.mean(axis=1, keepdims=True)).max()
        ),
        "max_abs_probabilities": float(np.abs(ours - theirs).max()),
        "min_cosine": float(cosines(ours, theirs).min()),
        "mean_kl": float(kl_divergences(theirs, ours).mean()),
        "confidence": confidence,
        "confidence_error": abs(confidence - 1),
        "metric_drop": max(before[name] - settled[name] for name in ("accuracy", "macro_f1")),
        "metrics_checkpoint": before,
        "metrics_artifact": after,
        "metrics_difference": paired_differences(ours, theirs, targets, resamples=RESAMPLES, seed=0),
        "batch_difference": max(
            (float(np.abs(rows - alone).max()) for rows in scores.batched.values()), default=0.0
        ),
        "batch_flips": sum(
            int((rows.argmax(axis=1) != alone.argmax(axis=1))[sure].sum()) for rows in scores.batched.values()
        ),
        "sum_error": float(np.abs(ours.sum(axis=1) - 1).max()),
    }


def compare_calibration(
    on_test: NDArray[np.float32], on_validation: NDArray[np.float32], reference: Reference
) -> dict[str, Any]:
    """The temperature that would suit the artifact, fitted on validation as the checkpoint's was, and the calibration error it would leave.

    Args:
        on_test: The artifact's probabilities on the test split, shape (samples, classes).
        on_validation: On the reference's samples of validation.
        reference: What the checkpoint answers.
    """
    temperature, validation = reference.temperature, reference.validation
    finite = bool(np.isfinite(on_validation).all())
    best = (
        fit_temperature(as_logits(on_validation, temperature), validation.targets) if finite else float("inf")
    )
    wanted = fit_temperature(as_logits_of(validation, temperature), validation.targets)
    refitted = softmax(as_logits(on_test, temperature), best) if finite else on_test
    return {
        "temperature": temperature,
        "temperature_refitted": best if finite else None,
        "temperature_refitted_checkpoint": wanted,
        "temperature_samples": len(validation.targets),
        "ece_refitted": expected_calibration_error(refitted, reference.test.targets),
    }


def _check(measured: dict[str, Any], limits: Limits) -> Iterator[dict[str, Any]]:
    yield {
        "name": "wrong_labels",
        "value": measured["wrong_labels"],
        "limit": 0,
        "passed": measured["wrong_labels"] == 0,
    }
    if "does_not_run" in measured:
        yield {"name": "does_not_run", "value": 1, "limit": 0, "passed": False}
        return
    if "shape" in measured:
        same = measured["shape"] == measured["expected_shape"]
        yield {"name": "wrong_shape", "value": int(not same), "limit": 0, "passed": same}
        yield {
            "name": "not_finite",
            "value": measured["not_finite"],
            "limit": 0,
            "passed": measured["not_finite"] == 0,
        }
        return
    highest = {
        "not_finite": 0,
        "max_abs_logits": limits.max_abs_logits,
        "mean_kl": limits.max_mean_kl,
        "metric_drop": limits.max_metric_drop,
        "confidence_error": limits.max_confidence_error,
        "batch_difference": limits.max_batch_difference,
        "batch_flips": 0,
        "sum_error": limits.max_sum_error,
    }
    lowest = {"min_cosine": limits.min_cosine, "agreement": limits.min_agreement}
    for name, limit in highest.items():
        if limit is not None:
            value = measured[name]
            yield {
                "name": name,
                "value": value,
                "limit": limit,
                "passed": value is not None and value <= limit,
            }
    for name, limit in lowest.items():
        yield {"name": name, "value": measured[name], "limit": limit, "passed": measured[name] >= limit}


def failures(receipt: dict[str, Any]) -> list[str]:
    """The checks that a receipt fails, for people."""
    return [
        f"{check['name']} is {_figure(check['value'])}, limit {check['limit']:g}"
        for check in receipt["checks"]
        if not check["passed"]
    ]


def allowances(receipt: dict[str, Any]) -> list[str]:
    """What passes only because the recipe set another limit than that of the precision, for people."""
    usual = {check["name"]: check for check in _check(receipt, LIMITS[receipt["precision"]])}
    past = [
        usual[check["name"]]
        for check in receipt["checks"]
        if check["passed"] and not usual[check["name"]]["passed"]
    ]
    return [
        f"{check['name']} is {_figure(check['value'])}, past the usual {check['limit']:g}, as the recipe allows"
        for check in past
    ]


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"


def _flips(ours: NDArray[np.float32], reference: Reference) -> list[dict[str, str]]:
    """The samples that the artifact answers otherwise than the checkpoint."""
    labels = reference.labels
    triples = zip(
        reference.test.sha256, reference.test.logits.argmax(axis=1), ours.argmax(axis=1), strict=True
    )
    return [
        {"sha256": sha256, "checkpoint": labels[theirs], "artifact": labels[own]}
        for sha256, theirs, own in triples
        if theirs != own
    ]
