"""The making of a receipt: an artifact against the checkpoint, on the whole test split, as it is served."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.limits import Limits
from pipeline.errors import GraftError
from pipeline.machine.settings import cpu_name
from pipeline.machine.versions import MODEL_PACKAGES, RUNTIME_PACKAGES, versions_of
from pipeline.measures.reference import Reference
from pipeline.modalities.registry import find_modality
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.verify.checks import check
from pipeline.verify.comparison import compare, compare_calibration
from pipeline.verify.scoring import Originals, score, score_alone
from serving.model.manifest import Lineage, hash_labels
from serving.model.receipt import Receipt
from serving.model.records import Flip, Machine, Made, Measured
from serving.model.runtimes.machine import cpu_limit
from serving.model.runtimes.session import Runtime
from serving.model.scorer import Scorer


@dataclass(frozen=True)
class Claim:
    """The origin and the labels that an artifact claims to have.

    Attributes:
        modality: Name of the kind of input.
        labels: Class names, in the order of its probabilities.
        reference_sha256: SHA-256, in hexadecimal, of the file with the checkpoint's answers.
        lineage: Recipe, data, weights and checkpoint that the model was made from.
    """

    modality: str
    labels: tuple[str, ...]
    reference_sha256: str
    lineage: Lineage


@dataclass(frozen=True)
class Evidence:
    """The answers and the samples that an artifact is compared on.

    Attributes:
        reference: The checkpoint's answers.
        originals: The samples of the reference, by the SHA-256 of their content.
    """

    reference: Reference
    originals: Originals


def build_receipt(
    scorer: Scorer,
    claim: Claim,
    evidence: Evidence,
    limits: Limits,
    *,
    made: Made | None = None,
    changed: Mapping[str, float] | None = None,
) -> Receipt:
    """Score every sample from its original bytes, alone and in batches of 2, 7 and 32, and compare.

    Args:
        scorer: The artifact, loaded by the code that the service loads it by.
        claim: The origin and the labels that the artifact claims to have.
        evidence: The answers and the samples that the artifact is compared on.
        limits: The limits that the artifact must keep to.
        made: How its file was made, if that is known.
        changed: The limits that the recipe changed, by their names; by default none.

    Returns:
        The receipt, passed or not.

    Raises:
        GraftError: A sample has changed or cannot be read any more.
    """
    measured, flips = _measure(scorer, claim, evidence, limits)
    checks = check(measured, limits)
    artifact, lineage = scorer.artifact, claim.lineage
    return Receipt(
        artifact=artifact.name,
        runtime=artifact.runtime,
        precision=artifact.precision,
        in_use=scorer.session.in_use,
        machine=_describe_machine(artifact.runtime),
        versions=versions_of(*MODEL_PACKAGES, *find_modality(claim.modality).packages, *RUNTIME_PACKAGES),
        artifact_sha256=artifact.sha256,
        plan=artifact.plan,
        tensors=artifact.tensors,
        reference_sha256=claim.reference_sha256,
        labels_sha256=hash_labels(claim.labels),
        checkpoint_sha256=lineage.checkpoint_sha256,
        data_sha256=lineage.data_sha256,
        measured=measured,
        limits=asdict(limits),
        limits_set_by_recipe=changed or {},
        checks=checks,
        flips=flips,
        made=made,
        passed=all(each.passed for each in checks),
    )


def _measure(
    scorer: Scorer, claim: Claim, evidence: Evidence, limits: Limits
) -> tuple[Measured, tuple[Flip, ...]]:
    """Measure every figure, and list the answers that differ."""
    reference, originals = evidence.reference, evidence.originals
    wrong_labels = int(claim.labels != reference.labels)
    try:
        scores = score(scorer, [originals[sha256] for sha256 in reference.test.sha256])
        validation = [originals[sha256] for sha256 in reference.validation.sha256]
        on_validation = score_alone(scorer, validation, "calibration")
    except GraftError:  # a sample that changed is no fault of the artifact
        raise
    # onnxruntime raises one type of error for each of its status codes, without a common base class.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        samples = len(reference.test.targets)
        return Measured(samples=samples, wrong_labels=wrong_labels, does_not_run=reason), ()
    measured = compare(scores, reference, limits).model_copy(update={"wrong_labels": wrong_labels})
    if measured.expected_shape is not None:
        return measured, ()
    measured = compare_calibration(measured, scores.single, on_validation, reference)
    return measured, _list_flips(scores.single, reference)


def _describe_machine(runtime: Runtime) -> Machine:
    return Machine(system=platform.platform(), cpu=cpu_name(), cpus=cpu_limit(), gpu=_name_gpu(runtime))


def _name_gpu(runtime: Runtime) -> str | None:
    """Return the GPU's name if the runtime uses one."""
    if runtime not in {"onnxruntime-cuda", "onnxruntime-tensorrt"}:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "unknown to torch"


def _list_flips(probabilities: NDArray[np.float32], reference: Reference) -> tuple[Flip, ...]:
    """List the samples that the artifact answers otherwise than the checkpoint."""
    labels, test = reference.labels, reference.test
    answers = zip(
        test.sha256, CLASSIFICATION.answers(test.logits), CLASSIFICATION.answers(probabilities), strict=True
    )
    return tuple(
        Flip(sha256=sha256, checkpoint=labels[expected], artifact=labels[given])
        for sha256, expected, given in answers
        if expected != given
    )
