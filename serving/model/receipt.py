"""A receipt, the measured proof that one artifact predicts what the checkpoint predicts, and its check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from serving.model.errors import BundleError
from serving.model.files import FileRef, check_file
from serving.model.manifest import Artifact
from serving.model.records import Check, Flip, Machine, Made, Measured, Record, Speedup
from serving.model.runtimes.plan import Plan
from serving.model.runtimes.session import InUse, Precision, Runtime


class Receipt(Record):
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
        tensors: The file of its tensors, where they are too large for the model file.
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
        speedup: Its speed, in receipts of earlier releases. No two measurements of a time are equal, and a
            receipt says what is the same whenever it is measured, so it is None in those of today.
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
    tensors: FileRef | None = None
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
    precision, tensors and TensorRT plan.

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
    if receipt.tensors != artifact.tensors:
        return "has the receipt of other tensors"
    return None if receipt.plan == artifact.plan else "has the receipt of another plan"
