"""What an artifact of each precision must keep to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from pydantic import TypeAdapter

from pipeline.recipe.sections import LimitChanges
from serving.model.receipt import Receipt
from serving.model.runtimes.session import Precision


@dataclass(frozen=True)
class Limits:
    """What an artifact must keep to.

    Attributes:
        max_scaled_logits: Largest difference of a logit, in proportion to the sample's own logits where these
            are larger than 10; None where it is only reported.
        max_abs_probabilities: Largest difference of a probability; None where it is only reported.
        min_cosine: Least cosine of a sample's two probability vectors.
        min_agreement: Least share of equal answers, among samples whose margin exceeds ``margin``.
        margin: Difference of the two largest probabilities below which a flip is a tie.
        max_mean_kl: Largest mean Kullback-Leibler divergence from the checkpoint, in nats.
        max_metric_drop: Largest loss of accuracy or macro F1.
        max_confidence_error: Largest distance from 1 of the factor between the artifact's and the
            checkpoint's logits, by least squares: what a wrong temperature changes, whether or not an answer
            flips.
        max_batch_difference: Largest difference of a probability between batch sizes.
        max_sum_error: Largest distance of a row's sum from 1.
        min_speedup: Least speed of what is published, in times that of ``onnx-fp32`` on one thread.
    """

    max_scaled_logits: float | None
    max_abs_probabilities: float | None
    min_cosine: float
    min_agreement: float
    margin: float
    max_mean_kl: float
    max_metric_drop: float
    max_confidence_error: float
    max_batch_difference: float
    max_sum_error: float = 1e-5
    min_speedup: float = 1.1  # less is not worth another artifact


_HALF = Limits(
    max_scaled_logits=None,
    max_abs_probabilities=None,
    min_cosine=0.999,
    min_agreement=0.995,
    margin=0.0,
    max_mean_kl=1e-3,
    max_metric_drop=0.001,
    max_confidence_error=0.02,
    max_batch_difference=2e-3,
)
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(
        max_scaled_logits=1e-4,
        # What a difference of 1e-4 in a logit can make of a probability at the lowest temperature, 0.2.
        max_abs_probabilities=1.25e-4,
        min_cosine=0.99999,
        min_agreement=1.0,
        margin=1e-3,
        max_mean_kl=1e-6,
        max_metric_drop=0.0,
        max_confidence_error=1e-3,
        max_batch_difference=1e-5,
    ),
    "fp16": _HALF,
    "bf16": replace(_HALF, max_batch_difference=1e-2),  # 8 bits of mantissa instead of 11
    "int8": Limits(
        max_scaled_logits=None,
        max_abs_probabilities=None,
        min_cosine=0.98,
        min_agreement=0.98,
        margin=0.0,
        max_mean_kl=1e-2,
        max_metric_drop=0.005,
        max_confidence_error=0.05,
        max_batch_difference=1e-5,
    ),
}


def published_limits(receipt: Receipt) -> Limits:
    """Return the limits under which an artifact was published; a newer limit is that of its precision."""
    names = {field.name for field in fields(Limits)}
    known = {name: value for name, value in receipt.limits.items() if name in names}
    return TypeAdapter(Limits).validate_python(asdict(LIMITS[receipt.precision]) | known)


def limits_for(precision: Precision, changes: LimitChanges | None) -> tuple[Limits, dict[str, float]]:
    """The limits of a precision with a recipe's changes, and those changes alone."""
    changed = changes.model_dump(exclude_none=True) if changes else {}
    return replace(LIMITS[precision], **changed), changed
