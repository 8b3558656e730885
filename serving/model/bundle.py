"""A bundle: the folder that is served, opened only after every hash and every receipt in it has been checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.model.errors import BundleError
from serving.model.files import FileRef, check_file
from serving.model.manifest import DEFAULTS_FILE, MANIFEST_FILE, SCHEMA_VERSION, Artifact, Defaults, Manifest
from serving.model.receipt import find_doubt

DEFAULTS_REMEDY = "Remove the file, or measure again: graft benchmark RUN"
# Which BentoML service takes a modality's requests.
SERVICES = {"image": "serving.service:GraftService", "text": "serving.service:GraftTextService"}


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
        state = find_doubt(folder, artifact)
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
