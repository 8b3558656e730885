"""A receipt, the measured proof that one artifact predicts what the checkpoint predicts, and its check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from serving.model.errors import BundleError
from serving.model.files import check_file
from serving.model.manifest import Artifact
from serving.model.runtimes.plan import Plan
from serving.model.runtimes.session import InUse, Precision, Runtime


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Check(_Frozen):
    """One figure beside its limit.

    Attributes:
        name: Name of the figure, such as ``mean_kl``.
        value: The figure, or None if it could not be measured, in which case the check fails.
        limit: The largest or the smallest value that passes, as the figure's name says.
        passed: Whether the figure is within the limit.
    """

    name: str
    value: float | None = None
    limit: float
    passed: bool


class Difference(_Frozen):
    """A metric of the artifact less that of the checkpoint, with its 95 % interval.

    Attributes:
        value: The difference.
        interval_95: Its interval by a paired bootstrap.
    """

    value: float
    interval_95: tuple[float, float]


class Speedup(_Frozen):
    """How many times as fast an artifact is as ``onnx-fp32``, one sample a run on one thread.

    Attributes:
        median: Median of interleaved rounds.
        low: Smallest ratio of a round.
        high: Largest ratio of a round.
        samples: Number of samples in each round.
    """

    median: float
    low: float
    high: float
    samples: int


class Flip(_Frozen):
    """A sample that the artifact answers otherwise than the checkpoint.

    Attributes:
        sha256: Hash of the sample's bytes.
        checkpoint: Label that the checkpoint gives.
        artifact: Label that the artifact gives.
    """

    sha256: str
    checkpoint: str
    artifact: str


class Machine(_Frozen):
    """The machine on which an artifact was measured.

    Attributes:
        system: Name and version of the operating system.
        cpu: Name of the CPU.
        cpus: Number of CPUs that the process could use.
        gpu: Name of the GPU, or None if the artifact does not run on one.
    """

    system: str
    cpu: str
    cpus: int
    gpu: str | None = None


class Made(_Frozen):
    """How a model file was made, or why it was not.

    Attributes:
        method: The method, for people.
        calibrated_on: The samples that set the ranges of 8-bit numbers, for people.
        kept_fp32: Names of the layers that stay in fp32, because they hurt most.
        max_batch_size: Maximum number of inputs in one run, or None for any number.
        temperature: What this file divides its logits by, where it is its own.
        plan: The TensorRT plan that the file wraps.
        because: Why there is no file; None if there is one.
    """

    method: str | None = None
    calibrated_on: str | None = None
    kept_fp32: tuple[str, ...] = ()
    max_batch_size: int | None = None
    temperature: float | None = None
    plan: Plan | None = None
    because: str | None = None


class Measured(_Frozen):
    """What was measured of an artifact on the checkpoint's test split.

    A figure is None if it was not measured: all are, if the artifact does not run; those after ``not_finite``
    are, if its answers have another shape or are not finite.

    Attributes:
        samples: Number of samples of the test split.
        wrong_labels: 1 if the labels are not the checkpoint's in their order, else 0.
        does_not_run: The runtime's reason, if the artifact does not run.
        batch_sizes: Sizes of the batches that were scored.
        samples_in_batches: Number of the samples that were scored in batches too.
        shape: Shape of the answers, if it is not the expected one or they are not finite.
        expected_shape: Shape that the answers should have.
        not_finite: Number of probabilities that are not finite.
        agreeing: Number of samples that get the checkpoint's answer.
        agreement: Share of equal answers among those that are not ties.
        ties: Number of samples whose two largest probabilities are closer than the margin.
        max_abs_logits: Largest difference of a logit; both are centred, since a softmax ignores a constant.
        p99_abs_logits: 99th percentile of each sample's largest difference of a logit.
        max_scaled_logits: Largest difference of a logit in proportion to the sample's own logits: as it is
            where these are at most 10, and otherwise divided by a tenth of the largest.
        logit_scale: Largest magnitude of a centred logit of the checkpoint.
        max_abs_probabilities: Largest difference of a probability.
        min_cosine: Smallest cosine of a sample's two vectors of probabilities.
        mean_kl: Mean Kullback-Leibler divergence from the checkpoint, in nats.
        confidence: Factor between the artifact's and the checkpoint's logits, by least squares.
        confidence_error: Distance of that factor from 1.
        metric_drop: Largest loss of accuracy or macro F1, where ties may fall either way.
        metrics_checkpoint: The checkpoint's metrics by their names.
        metrics_artifact: The artifact's metrics.
        metrics_difference: Their differences.
        batch_difference: Largest difference of a probability between batch sizes.
        batch_flips: Number of clear answers that change with the batch size.
        sum_error: Largest distance from 1 of the sum of a sample's probabilities.
        temperature: What the checkpoint's logits are divided by.
        temperature_refitted: The temperature that would suit the artifact, by the samples of validation.
        temperature_refitted_checkpoint: The same of the checkpoint.
        temperature_samples: Number of those samples.
        ece_refitted: Calibration error on the test split that the refitted temperature would leave.
    """

    samples: int
    wrong_labels: int
    does_not_run: str | None = None
    batch_sizes: tuple[int, ...] = ()
    samples_in_batches: int = 0
    shape: tuple[int, ...] | None = None
    expected_shape: tuple[int, ...] | None = None
    not_finite: int | None = None
    agreeing: int | None = None
    agreement: float | None = None
    ties: int | None = None
    max_abs_logits: float | None = None
    p99_abs_logits: float | None = None
    max_scaled_logits: float | None = None
    logit_scale: float | None = None
    max_abs_probabilities: float | None = None
    min_cosine: float | None = None
    mean_kl: float | None = None
    confidence: float | None = None
    confidence_error: float | None = None
    metric_drop: float | None = None
    metrics_checkpoint: Mapping[str, float] = {}
    metrics_artifact: Mapping[str, float] = {}
    metrics_difference: Mapping[str, Difference] = {}
    batch_difference: float | None = None
    batch_flips: int | None = None
    sum_error: float | None = None
    temperature: float | None = None
    temperature_refitted: float | None = None
    temperature_refitted_checkpoint: float | None = None
    temperature_samples: int | None = None
    ece_refitted: float | None = None


class Receipt(_Frozen):
    """The content of a file in ``receipts/``, where the figures of ``measured`` stand beside the other keys.

    Attributes:
        schema_version: Version of this schema.
        artifact: Name of the artifact.
        runtime: Runtime that ran it.
        precision: Precision in which it computes.
        in_use: What ran it, as the runtime itself reported it.
        machine: The machine on which it ran.
        versions: Versions of the installed packages, by package name.
        artifact_sha256: Hash of the model file.
        plan: The TensorRT plan that it wraps.
        reference_sha256: Hash of the file of the checkpoint's answers.
        labels_sha256: Hash of the labels in their order.
        checkpoint_sha256: Hash of the checkpoint's weights.
        data_sha256: Hash of the contents, labels and splits of all samples.
        measured: Every figure.
        limits: The limits by their names; None where a figure is only reported.
        limits_set_by_recipe: Those of them that the recipe changed.
        checks: Each limited figure beside its limit.
        flips: The samples that get another answer.
        made: How the model file was made.
        speedup: Its speed, or None if it was not measured.
        passed: Whether every check passed.
    """

    schema_version: Literal[1] = 1
    artifact: str
    runtime: Runtime
    precision: Precision
    in_use: InUse
    machine: Machine
    versions: Mapping[str, str]
    artifact_sha256: str
    plan: Plan | None = None
    reference_sha256: str
    labels_sha256: str
    checkpoint_sha256: str
    data_sha256: str
    measured: Measured
    limits: Mapping[str, float | None]
    limits_set_by_recipe: Mapping[str, float] = {}
    checks: tuple[Check, ...]
    flips: tuple[Flip, ...] = ()
    made: Made | None = None
    speedup: Speedup | None = None
    passed: bool

    @model_validator(mode="before")
    @classmethod
    def _gather_figures(cls, document: object) -> object:
        if not isinstance(document, dict) or "measured" in document:
            return document
        figures = {key: value for key, value in document.items() if key in Measured.model_fields}
        return {key: value for key, value in document.items() if key not in figures} | {"measured": figures}

    @model_serializer(mode="wrap")
    def _spread_figures(self, write: SerializerFunctionWrapHandler, _: SerializationInfo) -> dict[str, Any]:
        document: dict[str, Any] = dict(write(self))
        figures: dict[str, Any] = document.pop("measured")
        return document | figures

    def to_bytes(self) -> bytes:
        """Return the receipt as UTF-8 JSON, without the figures that were not measured."""
        return (self.model_dump_json(indent=2, exclude_none=True) + "\n").encode()


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Args:
        path: Path of the file.

    Raises:
        BundleError: ``unproven`` if the file cannot be read as a receipt of this version.
    """
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        text = f"{path}: cannot be read as a receipt ({reason}). Prove it again: graft verify RUN"
        raise BundleError("unproven", text) from error


def find_doubt(folder: Path, artifact: Artifact) -> str | None:
    """Look for a reason why an artifact is not proven.

    The receipt must exist, be unchanged, have passed, and be about this file (by its SHA-256), name, runtime,
    precision and TensorRT plan.

    Args:
        folder: The bundle's folder.
        artifact: One of the bundle's artifacts.

    Returns:
        The reason as a predicate whose subject is the artifact, such as ``has no receipt``, or None if the
        artifact is proven.

    Raises:
        BundleError: ``missing_file`` or ``hash_mismatch`` for the file of the receipt.
    """
    if artifact.receipt is None:
        return "has no receipt"
    check_file(folder, artifact.receipt)
    try:
        receipt = read_receipt(folder / artifact.receipt.file)
    except BundleError:
        return "has a receipt that cannot be read"
    if not (artifact.receipt.passed and receipt.passed and all(check.passed for check in receipt.checks)):
        return "failed its receipt"
    if receipt.artifact_sha256 != artifact.sha256:
        return "has the receipt of another file"
    proven = (receipt.artifact, receipt.runtime, receipt.precision)
    if proven != (artifact.name, artifact.runtime, artifact.precision):
        return "has the receipt of another runtime or precision"
    return None if receipt.plan == artifact.plan else "has the receipt of another plan"
