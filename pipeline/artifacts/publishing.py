"""The one door into a bundle: everything in it is written in one step, and opened as the service opens it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.files import atomic
from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import SIGNATURE_FILE
from serving.model.files import check_file, hash_file
from serving.model.manifest import DEFAULTS_FILE, MANIFEST_FILE, Artifact, Defaults, Manifest, ReceiptRef
from serving.model.receipt import Receipt, read_receipt

log = logging.getLogger("graft")


@dataclass(frozen=True)
class Proven:
    """An artifact and its proof.

    Attributes:
        artifact: The artifact; its reference to a receipt is made when it is published.
        receipt: The receipt, which has passed.
        folder: Folder that holds the artifact's files.
    """

    artifact: Artifact
    receipt: Receipt
    folder: Path

    def files(self) -> dict[str, Path]:
        """Return the paths of the artifact's files, by their names."""
        return {ref.file: self.folder / ref.file for ref in self.artifact.files()}


@dataclass(frozen=True)
class Contents:
    """Everything that a bundle is written from.

    Attributes:
        manifest: The manifest; the artifacts in it are replaced by the proven ones.
        proven: The artifacts, the first of which is the default.
        files: The paths of the other files, by their names: the reference, and what the input spec names.
        defaults: The settings that a benchmark recommends, if there are any.
    """

    manifest: Manifest
    proven: Sequence[Proven]
    files: Mapping[str, Path] = field(default_factory=dict)
    defaults: Defaults | None = None


def publish(contents: Contents, target: Path) -> Bundle:
    """Write a bundle in one step; an earlier one stays until the new one is whole and has been opened.

    The signature of an earlier one goes with it, since it was over other files.

    Args:
        contents: Everything that the bundle holds.
        target: The bundle's folder.

    Returns:
        The new bundle, opened.

    Raises:
        BundleError: The bundle would not be one: a file has changed, or an artifact is not proven. The
            earlier one is then untouched.
    """
    with atomic.folder(target) as folder:
        artifacts = tuple(_write_artifact(folder, proven) for proven in contents.proven)
        for name, source in contents.files.items():
            _copy(source, folder / name)
        manifest = contents.manifest.model_copy(update={"artifacts": artifacts})
        atomic.write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
        if contents.defaults:
            atomic.write_json(folder / DEFAULTS_FILE, contents.defaults.model_dump(mode="json"))
        bundle = open_bundle(folder)
        if (target / SIGNATURE_FILE).exists():
            log.warning(
                "%s: is written anew, so its signature is gone. Sign it: graft sign %s", target, target
            )
    return replace(bundle, folder=target)


def publish_defaults(bundle: Bundle, defaults: Defaults) -> Bundle:
    """Write a bundle anew with other settings to serve with.

    Args:
        bundle: The bundle, which is replaced.
        defaults: The settings that a benchmark recommends.

    Raises:
        BundleError: The bundle has changed since it was opened; it is then left as it is.
    """
    manifest = bundle.manifest
    proven = []
    for artifact in manifest.artifacts:
        assert artifact.receipt is not None, "a bundle that is open has receipts"
        receipt = read_receipt(bundle.path_of(artifact.receipt))
        proven.append(Proven(artifact, receipt, bundle.folder))
    files = {ref.file: bundle.path_of(ref) for ref in (*manifest.input.files(), manifest.reference)}
    return publish(Contents(manifest, proven, files, defaults), bundle.folder)


def discard_unreadable_defaults(folder: Path) -> None:
    """Remove the settings of an earlier benchmark if they keep a bundle from being opened.

    Args:
        folder: The bundle's folder.
    """
    path = folder / DEFAULTS_FILE
    try:
        Defaults.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        log.warning("%s cannot be read, and is removed", path)
        path.unlink()


def _write_artifact(folder: Path, proven: Proven) -> Artifact:
    """Write an artifact's files and its receipt, and return the artifact with the reference to it."""
    for name, source in proven.files().items():
        if not (folder / name).exists():  # several artifacts may share a file
            _copy(source, folder / name)
    if proven.artifact.plan:  # a bundle's plans are checked when they are loaded, which may be elsewhere
        check_file(folder, proven.artifact.plan)
    file = f"receipts/{proven.artifact.name}.json"
    atomic.write_bytes(folder / file, proven.receipt.to_bytes())
    ref = ReceiptRef(file=file, sha256=hash_file(folder / file), passed=proven.receipt.passed)
    return proven.artifact.model_copy(update={"receipt": ref})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
