"""The records that a receipt is put together from."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from serving.model.files import FileRef
from serving.model.runtimes.plan import Plan


class Record(BaseModel):
    """What is written once and read strictly: no other keys, and no numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Check(Record):
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


class Difference(Record):
    """A metric of the artifact less that of the checkpoint, with its 95 % interval.

    Attributes:
        value: The difference.
        interval_95: Its interval by a paired bootstrap.
    """

    value: float
    interval_95: tuple[float, float]


class Speedup(Record):
    """How many times as fast an artifact is as ``onnx-fp32``, one sample a run on one thread.

    Attributes:
        median: Median ratio of interleaved rounds.
        low: Lower end of its 99 % interval; the smallest ratio of a round where ``rounds`` is None.
        high: Upper end of its 99 % interval; the largest ratio of a round where ``rounds`` is None.
        samples: Number of samples in each round.
        rounds: Number of rounds; None in receipts of earlier releases.
    """

    median: float
    low: float
    high: float
    samples: int
    rounds: int | None = None


class Flip(Record):
    """A sample that the artifact answers otherwise than the checkpoint.

    Attributes:
        sha256: Hash of the sample's bytes.
        checkpoint: Label that the checkpoint gives.
        artifact: Label that the artifact gives.
    """

    sha256: str
    checkpoint: str
    artifact: str


class Machine(Record):
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


class Made(Record):
    """How a model file was made, or why it was not.

    Attributes:
        method: The method, for people.
        calibrated_on: The samples that set the ranges of 8-bit numbers, for people.
        kept_fp32: Names of the layers that stay in fp32, because they hurt most.
        max_batch_size: Maximum number of inputs in one run, or None for any number.
        temperature: What this file divides its logits by, where it is its own.
        plan: The TensorRT plan that the file wraps.
        tensors: The file of the model's tensors, where they are too large for the model file.
        because: Why there is no file; None if there is one.
    """

    method: str | None = None
    calibrated_on: str | None = None
    kept_fp32: tuple[str, ...] = ()
    max_batch_size: int | None = None
    temperature: float | None = None
    plan: Plan | None = None
    tensors: FileRef | None = None
    because: str | None = None


class Measured(Record):
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
        max_scaled_logits: Largest difference of a logit; divided by a tenth of the sample's largest centred
            logit where that is above 10, and by what float32 rounds off where logits are many hundreds.
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
