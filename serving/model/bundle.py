"""A bundle, the folder that is served: it is opened only if every hash and every receipt in it is valid."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.model.errors import BundleError
from serving.model.files import FileRef, check_file, hash_file, require_signed
from serving.model.manifest import DEFAULTS_FILE, MANIFEST_FILE, SCHEMA_VERSION, Artifact, Defaults, Manifest
from serving.model.receipt import find_doubt

DEFAULTS_REMEDY = "Remove the file, or measure again: graft benchmark RUN"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, whose files have been checked.

    Attributes:
        folder: The bundle's folder.
        manifest: The content of its ``manifest.json``.
        defaults: The settings that a benchmark recommends, or None, the default, if the bundle has none.
    """

    folder: Path
    manifest: Manifest
    defaults: Defaults | None = None

    def artifact(self, name: str | None = None) -> Artifact:
        """Look up one of the bundle's artifacts.

        Args:
            name: Name of the artifact. The default is the one that a benchmark recommends, or else the first.

        Raises:
            BundleError: ``unknown_artifact`` if the bundle has no artifact of that name.
        """
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
        """Return the path of one of the bundle's files."""
        return self.folder / ref.file


def open_bundle(folder: Path, signed: Mapping[str, str] | None = None) -> Bundle:
    """Read a bundle and check its files and receipts; nothing that is not proven is opened.

    Args:
        folder: The bundle's folder, which contains ``manifest.json``.
        signed: SHA-256 of all files that belong into the folder, in hexadecimal, by their paths, from a
            signature that was checked. By default the bundle's own hashes suffice.

    Raises:
        BundleError: ``missing_file``, ``unreadable_file``, ``unknown_schema``, ``unknown_input``,
            ``invalid_manifest``, ``hash_mismatch``, ``unproven`` or ``invalid_defaults``.
        SignatureError: ``signature_mismatch``.
    """
    try:
        return _open_checked(folder, signed)
    except PermissionError as error:  # such as in a container, whose user is another one than who copied it
        text = (
            f"{error.filename or folder}: may not be read by the user of this process, {os.geteuid()}. "
            f"Let others read the bundle: chmod -R a+rX {folder}"
        )
        raise BundleError("unreadable_file", text) from error
    except OSError as error:
        text = f"{error.filename or folder}: cannot be read ({error.strerror}). Copy the bundle again."
        raise BundleError("unreadable_file", text) from error


def _open_checked(folder: Path, signed: Mapping[str, str] | None) -> Bundle:
    manifest = _read_manifest(folder / MANIFEST_FILE, signed)
    for ref in (*manifest.input.files(), manifest.reference):
        check_file(folder, ref)
    for artifact in manifest.artifacts:
        # A TensorRT plan is checked when it is loaded, together with the machine that it was built for.
        check_file(folder, artifact)
        if artifact.tensors:
            check_file(folder, artifact.tensors)
        doubt = find_doubt(folder, artifact)
        if doubt:
            text = f"{artifact.name} {doubt}, so nothing proves its answers. Run `graft verify` on its run."
            raise BundleError("unproven", f"{folder}: {text}")
    defaults = _read_defaults(folder / DEFAULTS_FILE, signed)
    if signed is not None:
        _require_all_signed(folder, manifest, signed)
    if defaults and defaults.artifact not in {artifact.name for artifact in manifest.artifacts}:
        text = f"names {defaults.artifact}, which is not published. {DEFAULTS_REMEDY}"
        raise BundleError("invalid_defaults", f"{folder / DEFAULTS_FILE}: {text}")
    return Bundle(folder, manifest, defaults)


def _require_all_signed(folder: Path, manifest: Manifest, signed: Mapping[str, str]) -> None:
    """Require every file to be what was signed; those that have been hashed already are not hashed again."""
    refs = [*manifest.input.files(), manifest.reference]
    for artifact in manifest.artifacts:
        refs += [ref for ref in (artifact, artifact.tensors, artifact.receipt) if ref]
    hashes = {ref.file: ref.sha256 for ref in refs}
    for name, sha256 in signed.items():
        if name not in {MANIFEST_FILE, DEFAULTS_FILE}:  # which were checked when they were read
            require_signed(folder / name, hashes.get(name) or hash_file(folder / name), sha256)


def _read(path: Path, signed: Mapping[str, str] | None) -> bytes:
    """Return the bytes of a file, which are those that were signed, if that is asked for."""
    data = path.read_bytes()
    if signed is not None:
        require_signed(path, hashlib.sha256(data).hexdigest(), signed.get(path.name))
    return data


def _read_defaults(path: Path, signed: Mapping[str, str] | None) -> Defaults | None:
    try:
        return Defaults.model_validate_json(_read(path, signed))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        text = f"{path}: cannot be read ({error}). {DEFAULTS_REMEDY}"
        raise BundleError("invalid_defaults", text) from error


def _read_manifest(path: Path, signed: Mapping[str, str] | None) -> Manifest:
    try:
        document = json.loads(_read(path, signed))
    except (FileNotFoundError, NotADirectoryError) as error:
        inside = path.parent / "bundle"
        remedy = f"Name {inside}." if (inside / path.name).is_file() else "Make one with `graft verify`."
        raise BundleError("missing_file", f"{path}: not found, so this is not a bundle. {remedy}") from error
    except ValueError as error:
        text = f"{path}: cannot be read ({error}). Make it again: graft run RUN"
        raise BundleError("invalid_manifest", text) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            "unknown_schema",
            f"{path}: schema version {version!r}, but this release reads {SCHEMA_VERSION}. "
            "Install the release that wrote it, or make it again: graft run RUN",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        places = ((".".join(map(str, item["loc"])), item["msg"]) for item in error.errors())
        reasons = "; ".join(f"{place or 'manifest'}: {reason}" for place, reason in places)
        raise BundleError("invalid_manifest", f"{path}: {reasons}. Make it again: graft run RUN") from error
