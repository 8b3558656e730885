"""The manifest: what a bundle says of itself in ``manifest.json``, and a benchmark's advice in ``defaults.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.model.files import FileRef
from serving.model.inputs.preprocessors import InputSpec
from serving.model.runtimes.plan import Plan
from serving.model.runtimes.session import Precision, Runtime

SCHEMA_VERSION: Literal[2] = 2
MANIFEST_FILE = "manifest.json"
DEFAULTS_FILE = "defaults.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceiptRef(FileRef):
    """The measured proof of one artifact, and whether it passed its limits."""

    passed: bool


class Artifact(FileRef):
    """What can be served: a file, the runtime that runs it, and the precision in which it does. Each has a proof of its own.

    Attributes:
        name: Such as ``onnx-fp32`` or ``openvino-bf16``.
        runtime: What runs the file, and on which device; on any other its answers are not proven.
        precision: Of weights and arithmetic.
        max_batch_size: The most inputs that it runs at once; None for any number. Dynamic quantisation scales a whole batch, so that
            an answer would depend on its neighbours: such an artifact runs one at a time.
        receipt: The proof that it predicts what the checkpoint predicts; None before verification.
    """

    name: str
    runtime: Runtime
    precision: Precision
    max_batch_size: int | None = Field(default=None, ge=1)
    plan: Plan | None = None
    receipt: ReceiptRef | None = None

    @model_validator(mode="after")
    def _has_a_plan_where_one_is_run(self) -> Artifact:
        if (self.runtime == "onnxruntime-tensorrt") != (self.plan is not None):
            raise ValueError(f"{self.name}: an artifact has a plan exactly where TensorRT runs it")
        return self


class Lineage(_Frozen):
    """Where the model comes from. Hashes are SHA-256 in hex; versions are package names to versions."""

    recipe_sha256: str
    data_sha256: str
    weights_sha256: str
    checkpoint_sha256: str
    versions: dict[str, str]


class Manifest(_Frozen):
    """What ``manifest.json`` holds.

    Attributes:
        labels: Class names, in the order of the model's output columns.
        labels_sha256: :func:`hash_labels` of them: a permuted or missing label does not pass unseen.
        artifacts: What can be served; the first is the default, unless ``defaults.json`` names another.
        reference: What the checkpoint answers to the test split: what receipts compare with, wherever they are made.
    """

    schema_version: Literal[2] = 2
    name: str = Field(pattern="^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
    version: str = Field(pattern="^[a-z0-9]+$")
    task: Literal["classification"] = "classification"
    labels: tuple[str, ...] = Field(min_length=2)
    labels_sha256: str
    input: InputSpec
    artifacts: tuple[Artifact, ...] = Field(min_length=1)
    reference: FileRef
    lineage: Lineage

    @model_validator(mode="after")
    def _labels_match_their_hash(self) -> Manifest:
        if hash_labels(self.labels) != self.labels_sha256:
            raise ValueError("labels do not match labels_sha256: a label was changed, moved or removed")
        return self


class Defaults(_Frozen):
    """What ``defaults.json`` holds: the settings that a benchmark found best.

    Attributes:
        artifact: The name of a published artifact.
        threads: Threads within one run of it.
        measured_on: The CPU or GPU, since another machine may do better with others.
    """

    artifact: str
    threads: int = Field(ge=1)
    measured_on: str


def hash_labels(labels: Sequence[str]) -> str:
    """SHA-256, in hex, of the labels in their order."""
    return hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode()).hexdigest()
