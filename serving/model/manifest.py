"""The schemas of a bundle's ``manifest.json``, which describes it, and of a benchmark's ``defaults.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.model.files import FileRef
from serving.model.inputs.registry import AnyInputSpec
from serving.model.runtimes.plan import Plan
from serving.model.runtimes.session import Precision, Runtime

SCHEMA_VERSION: Literal[2] = 2
MANIFEST_FILE = "manifest.json"
DEFAULTS_FILE = "defaults.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceiptRef(FileRef):
    """A reference to an artifact's receipt, the file that holds its measured proof.

    Attributes:
        passed: Whether the measurements are within their limits.
    """

    passed: bool


class Artifact(FileRef):
    """One way to serve the model: an ONNX file, a runtime and a precision, with a receipt of its own.

    Attributes:
        name: Name of the artifact, such as ``onnx-fp32`` or ``openvino-bf16``.
        runtime: Runtime and device that run the file; its predictions are not proven on any other.
        precision: Precision of the weights and of the arithmetic.
        max_batch_size: Maximum number of inputs in one run, or None, the default, for any number. It is 1 for
            dynamic quantisation, which scales a batch as a whole, so that a prediction would depend on its
            neighbours.
        plan: The TensorRT plan that the ONNX file wraps; present if and only if the runtime is
            ``onnxruntime-tensorrt``.
        tensors: The file of the ONNX file's tensors, which it refers to by name; None, the default, where it
            holds them itself.
        receipt: The proof that it predicts what the checkpoint predicts; None before verification.
    """

    name: str
    runtime: Runtime
    precision: Precision
    max_batch_size: int | None = Field(default=None, ge=1)
    plan: Plan | None = None
    tensors: FileRef | None = None
    receipt: ReceiptRef | None = None

    def files(self) -> tuple[FileRef, ...]:
        """Return the references to all files that the runtime reads: the ONNX file, its tensors, its plan."""
        return tuple(
            ref for ref in (FileRef(file=self.file, sha256=self.sha256), self.tensors, self.plan) if ref
        )

    @model_validator(mode="after")
    def _has_a_plan_where_one_is_run(self) -> Artifact:
        if (self.runtime == "onnxruntime-tensorrt") != (self.plan is not None):
            raise ValueError(f"{self.name}: an artifact must have a plan if TensorRT runs it, and only then")
        return self


class Lineage(_Frozen):
    """What the model was made from. Every hash is a SHA-256 in hexadecimal.

    Attributes:
        recipe_sha256: Hash of the parts of the recipe that determine the model.
        data_sha256: Hash of the contents, labels and splits of all samples.
        weights_sha256: Hash of the tensors of the pretrained weights.
        checkpoint_sha256: Hash of the fine-tuned checkpoint.
        versions: Versions of the installed packages, by package name.
    """

    recipe_sha256: str
    data_sha256: str
    weights_sha256: str
    checkpoint_sha256: str
    versions: dict[str, str]


class Manifest(_Frozen):
    """The content of ``manifest.json``.

    Attributes:
        schema_version: Version of this schema.
        name: Name of the model, from the recipe.
        version: Version of the model, in lowercase letters and digits.
        task: What the model does; always ``classification``.
        labels: Class names, at least two, in the order of the model's output columns.
        labels_sha256: :func:`hash_labels` of ``labels``, so that a permuted or missing label is detected.
        input: How bytes become the model's input.
        artifacts: What can be served, at least one. The first is the default unless ``defaults.json`` names
            another.
        reference: The file of the checkpoint's answers to the test split, with which every receipt compares,
            wherever it is made.
        lineage: What the model was made from.
    """

    schema_version: Literal[2] = 2
    name: str = Field(pattern="^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
    version: str = Field(pattern="^[a-z0-9]+$")
    task: Literal["classification"] = "classification"
    labels: tuple[str, ...] = Field(min_length=2)
    labels_sha256: str
    input: AnyInputSpec
    artifacts: tuple[Artifact, ...] = Field(min_length=1)
    reference: FileRef
    lineage: Lineage

    @model_validator(mode="after")
    def _labels_match_their_hash(self) -> Manifest:
        if hash_labels(self.labels) != self.labels_sha256:
            raise ValueError("labels do not match labels_sha256: a label was changed, moved or removed")
        return self


class Defaults(_Frozen):
    """The content of ``defaults.json``: the settings that a benchmark recommends.

    Attributes:
        artifact: Name of a published artifact.
        threads: Number of threads within one run of that artifact; at least 1.
        measured_on: Name of the CPU or GPU that was measured, since another machine may do better with other
            settings.
    """

    artifact: str
    threads: int = Field(ge=1)
    measured_on: str


def hash_labels(labels: Sequence[str]) -> str:
    """Return the SHA-256 of the labels in their order, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode()).hexdigest()
