"""The contract: what a bundle holds, and the check that nothing in it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import BundleError
from serving.files import FileRef, check_file
from serving.inputs.preprocessors import InputSpec
from serving.runtimes.plan import Plan
from serving.runtimes.session import Precision, Runtime

SCHEMA_VERSION: Literal[2] = 2
MANIFEST_FILE = "manifest.json"
DEFAULTS_FILE = "defaults.json"
DEFAULTS_REMEDY = "Remove the file, or measure again: graft benchmark RUN"
# Which BentoML service takes a modality's requests.
SERVICES = {"image": "serving.service:GraftService", "text": "serving.service:GraftTextService"}


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


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder, the manifest whose every hash has been checked, and a benchmark's settings where it has any."""

    folder: Path
    manifest: Manifest
    defaults: Defaults | None = None

    def artifact(self, name: str | None = None) -> Artifact:
        """One of its artifacts by name, or the default; raises BundleError ``unknown_artifact``."""
        if name is None:
            return self.artifact(self.defaults.artifact) if self.defaults else self.manifest.artifacts[0]
        for artifact in self.manifest.artifacts:
            if artifact.name == name:
                return artifact
        known = ", ".join(artifact.name for artifact in self.manifest.artifacts)
        raise BundleError(
            "unknown_artifact",
            f"{self.folder}: publishes no `{name}`. Published, each with its receipt: {known}. "
            "The run's verify/report.html says why others are not.",
        )

    def path_of(self, ref: FileRef) -> Path:
        """The place of one of the bundle's files."""
        return self.folder / ref.file


def open_bundle(folder: Path, *, require_receipts: bool = True) -> Bundle:
    """Read a bundle and check every hash in it.

    Args:
        folder: The bundle's folder, the one that holds ``manifest.json``.
        require_receipts: Refuse artifacts without a passed receipt. Only verification, which is about to write them, turns this off;
            a benchmark's settings are then left out.

    Raises:
        BundleError: ``missing_file``, ``unknown_schema``, ``invalid_manifest``, ``hash_mismatch`` or ``unproven``.
    """
    manifest = _read_manifest(folder / MANIFEST_FILE)
    for ref in (*manifest.input.files(), manifest.reference):
        check_file(folder, ref)
    for artifact in manifest.artifacts:
        check_file(folder, artifact)  # a plan's bytes are checked when it is loaded, with the machine that it is for
        if not require_receipts:
            continue
        state = _doubt(folder, artifact)
        if state:
            raise BundleError(
                "unproven", f"{folder}: {artifact.name} {state}, so nothing proves its answers. Run `graft verify` on its run."
            )
    defaults = _read_defaults(folder / DEFAULTS_FILE) if require_receipts else None
    if defaults and defaults.artifact not in {artifact.name for artifact in manifest.artifacts}:
        raise BundleError(
            "invalid_defaults", f"{folder / DEFAULTS_FILE}: names {defaults.artifact}, which is not published. {DEFAULTS_REMEDY}"
        )
    return Bundle(folder, manifest, defaults)


def _read_defaults(path: Path) -> Defaults | None:
    try:
        return Defaults.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BundleError("invalid_defaults", f"{path}: cannot be read ({error}). {DEFAULTS_REMEDY}") from error


def _doubt(folder: Path, artifact: Artifact) -> str | None:
    """Why an artifact is unproven, or None: its receipt must be there, unchanged, passed, and of these very bytes."""
    if artifact.receipt is None:
        return "has no receipt"
    check_file(folder, artifact.receipt)
    receipt = json.loads((folder / artifact.receipt.file).read_bytes())
    if not artifact.receipt.passed or receipt.get("passed") is not True:
        return "failed its receipt"
    if receipt.get("artifact_sha256") != artifact.sha256:
        return "has the receipt of another file"
    proven = tuple(receipt.get(key) for key in ("artifact", "runtime", "precision"))
    if proven != (artifact.name, artifact.runtime, artifact.precision):
        return "has the receipt of another runtime or precision"
    plan = artifact.plan.model_dump(mode="json") if artifact.plan else None
    return None if receipt.get("plan") == plan else "has the receipt of another plan"


def _read_manifest(path: Path) -> Manifest:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError("missing_file", f"{path}: not found, so this is not a bundle. Make one with `graft export`.") from error
    except (OSError, ValueError) as error:
        raise BundleError("invalid_manifest", f"{path}: cannot be read ({error}). Export the bundle again.") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            "unknown_schema",
            f"{path}: schema version {version!r}, but this release reads {SCHEMA_VERSION}. Install the one that wrote it, or export again.",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'manifest'}: {item['msg']}" for item in error.errors())
        raise BundleError("invalid_manifest", f"{path}: {reasons}. Export the bundle again.") from error
