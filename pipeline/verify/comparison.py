"""Every figure of an artifact: its probabilities beside the checkpoint's logits.

Each figure is a finite number for every finite input, whatever its scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.measures.calibration import as_logits, expected_calibration_error, fit_temperature
from pipeline.measures.divergence import cosines, kl_divergences
from pipeline.measures.metrics import paired_differences, summarise
from pipeline.measures.reference import Reference
from pipeline.measures.temperature import as_logits_of
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.verify.scoring import Scores
from serving.model.records import Difference, Measured

Rows = NDArray[np.float64]
RESAMPLES = 500
# Centred logits up to this magnitude are compared as they are: rounding inside a network grows with them.
EXACT_LOGITS = 10.0
# Magnitude of a logit, before it is centred, whose last digit in float32 is 1e-4, the limit of fp32.
ROUNDED_LOGITS = 1e-4 / float(np.finfo(np.float32).eps)
# Share of the temperature below which logits are lost in what float32 holds of the probabilities made of
# them.
SMALLEST_SIGNAL = 1e-4


def compare(scores: Scores, reference: Reference, limits: Limits) -> Measured:
    """Measure how far an artifact's answers to the test split are from the checkpoint's.

    Args:
        scores: The artifact's probabilities.
        reference: The checkpoint's answers.
        limits: The limits of the artifact's precision; its margin says which answers are ties.

    Returns:
        The figures, with ``wrong_labels`` 0 and without those of :func:`compare_calibration`. If the answers
        have another shape or are not finite, no figure but that is given.
    """
    theirs = CLASSIFICATION.probabilities(reference.test.logits, reference.temperature)
    ours = scores.single.astype(np.float64)
    measured = Measured(
        samples=len(theirs),
        wrong_labels=0,
        batch_sizes=(1, *scores.batched),
        samples_in_batches=len(scores.chosen) if scores.batched else 0,
    )
    not_finite = sum(int((~np.isfinite(rows)).sum()) for rows in (scores.single, *scores.batched.values()))
    shape = _wrong_shape(scores, theirs.shape)
    if shape or not_finite:
        faults = {"shape": shape or ours.shape, "expected_shape": theirs.shape, "not_finite": not_finite}
        return measured.model_copy(update=faults)
    figures = (
        {"not_finite": 0}
        | _compare_answers(ours, theirs, limits)
        | _compare_logits(ours, theirs, reference)
        | _compare_metrics(ours, theirs, reference, limits)
        | _compare_batches(scores, theirs, limits)
    )
    return measured.model_copy(update=figures)


def _wrong_shape(scores: Scores, expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of answers that are not one row of the expected length for each sample."""
    if scores.single.shape != expected:
        return scores.single.shape
    in_batches = (len(scores.chosen), *expected[1:])
    return next((rows.shape for rows in scores.batched.values() if rows.shape != in_batches), None)


def _compare_answers(ours: Rows, theirs: Rows, limits: Limits) -> dict[str, float | int]:
    """Compare the probabilities; answers count as equal or not only if the checkpoint's are clear."""
    agree = CLASSIFICATION.agree(ours, theirs)
    clear = CLASSIFICATION.margins(theirs) > limits.margin
    return {
        "agreeing": int(agree.sum()),
        "agreement": float(agree[clear].mean()) if clear.any() else 1.0,
        "ties": int((~clear).sum()),
        "max_abs_probabilities": float(np.abs(ours - theirs).max()),
        "min_cosine": float(cosines(ours, theirs).min()),
        "mean_kl": float(kl_divergences(theirs, ours).mean()),
        "sum_error": float(np.abs(ours.sum(axis=1) - 1).max()),
    }


def _compare_logits(ours: Rows, theirs: Rows, reference: Reference) -> dict[str, float]:
    """Compare the logits, both of which are made from probabilities.

    What float32 cannot hold of a probability is lost to whoever is served it, and must not count here.
    """
    temperature, logits = reference.temperature, reference.test.logits.astype(np.float64)
    artifact, checkpoint = as_logits(ours, temperature), as_logits(theirs, temperature)
    differences = np.abs(artifact - checkpoint).max(axis=1)
    centred = np.abs(logits - logits.mean(axis=1, keepdims=True)).max(axis=1)
    slack = np.maximum(centred / EXACT_LOGITS, np.abs(logits).max(axis=1) / ROUNDED_LOGITS)
    scaled = differences / np.maximum(1.0, slack)
    confidence = _confidence(artifact, checkpoint, temperature)
    return {
        "max_abs_logits": float(differences.max()),
        "p99_abs_logits": float(np.quantile(differences, 0.99)),
        "max_scaled_logits": float(scaled.max()),
        "logit_scale": float(centred.max()),
        "confidence": confidence,
        "confidence_error": abs(confidence - 1),
    }


def _confidence(artifact: Rows, checkpoint: Rows, temperature: float) -> float:
    """Return the factor between the logits of artifact and checkpoint, by least squares.

    A wrong temperature changes this factor, whether or not an answer flips.

    Logits that are all but equal carry no such factor: only what stands out from the rounding of float32
    counts, so that the factor is then close to 1.
    """
    signal = float((checkpoint**2).sum())
    noise = checkpoint.size * (SMALLEST_SIGNAL * temperature) ** 2
    if signal >= noise:
        return float((artifact * checkpoint).sum() / signal)
    return 1.0 + float(((artifact - checkpoint) * checkpoint).sum()) / noise


def _compare_metrics(
    ours: Rows, theirs: Rows, reference: Reference, limits: Limits
) -> dict[str, float | dict[str, float] | dict[str, Difference]]:
    """Compare the metrics of the artifact with those of the checkpoint, with intervals of the differences."""
    targets = reference.test.targets
    clear = CLASSIFICATION.margins(theirs) > limits.margin
    before, after = summarise(theirs, targets), summarise(ours, targets)
    settled = summarise(np.where(clear[:, None], ours, theirs), targets)  # a tie may fall either way
    differences = paired_differences(ours, theirs, targets, resamples=RESAMPLES, seed=0)
    return {
        "metric_drop": max(before[name] - settled[name] for name in ("accuracy", "macro_f1")),
        "metrics_checkpoint": before,
        "metrics_artifact": after,
        "metrics_difference": {
            name: Difference(value=difference["value"], interval_95=difference["interval_95"])
            for name, difference in differences.items()
        },
    }


def _compare_batches(scores: Scores, theirs: Rows, limits: Limits) -> dict[str, float | int]:
    """Compare the answers of the same samples alone and in batches.

    An answer that flips counts only if the checkpoint's answer is clear.
    """
    alone = scores.single[scores.chosen]
    margin = max(limits.margin, 2 * limits.max_batch_difference)
    sure = (CLASSIFICATION.margins(theirs) > margin)[scores.chosen]
    batched = scores.batched.values()
    return {
        "batch_difference": max((float(np.abs(rows - alone).max()) for rows in batched), default=0.0),
        "batch_flips": sum(int((~CLASSIFICATION.agree(rows, alone))[sure].sum()) for rows in batched),
    }


def compare_calibration(
    measured: Measured,
    on_test: NDArray[np.float32],
    on_validation: NDArray[np.float32],
    reference: Reference,
) -> Measured:
    """Fit the temperature that would suit the artifact, on validation as the checkpoint's was.

    Args:
        measured: The figures so far.
        on_test: The artifact's probabilities on the test split, of shape (samples, classes).
        on_validation: Its probabilities on the reference's samples of validation, of shape (samples,
            classes).
        reference: The checkpoint's answers.

    Returns:
        The figures with those of the temperature, and the calibration error that it would leave.
    """
    temperature, validation = reference.temperature, reference.validation
    not_finite = int((~np.isfinite(on_validation)).sum())
    best = None if not_finite else fit_temperature(as_logits(on_validation, temperature), validation.targets)
    wanted = fit_temperature(as_logits_of(validation, temperature), validation.targets)
    refitted = on_test
    if best is not None:
        refitted = CLASSIFICATION.probabilities(as_logits(on_test, temperature), best).astype(np.float64)
    figures = {
        "not_finite": (measured.not_finite or 0) + not_finite,
        "temperature": temperature,
        "temperature_refitted": best,
        "temperature_refitted_checkpoint": wanted,
        "temperature_samples": len(validation.targets),
        "ece_refitted": expected_calibration_error(refitted, reference.test.targets),
    }
    return measured.model_copy(update=figures)
