"""Signing what a user names, and checking its signature: a run's bundle, any bundle, or an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder, find_bundle
from pipeline.run.runner import held
from pipeline.signing.checking import Checked, check_bundle, check_image
from pipeline.signing.image import find_images
from pipeline.signing.keys import read_signer
from pipeline.signing.signing import Signed, sign_bundle, sign_image
from serving.model.manifest import MANIFEST_FILE

# Of the folders that skopeo writes as dir:, which have a manifest.json too.
SKOPEOS_FILE: Final = "version"
SKOPEOS_MARK: Final = b"Directory Transport Version"


def sign(
    target: Path,
    key: Path,
    certificates: Sequence[Path] = (),
    ask_password: Callable[[], str] | None = None,
) -> Signed:
    """Sign a run's bundle, a bundle or an image.

    Args:
        target: The folder of the run, the bundle or the image.
        key: A PEM file with the private key.
        certificates: PEM files with the key's certificate and those above it, if there are any.
        ask_password: Asks a person for the key's password; None where nobody can be asked.

    Raises:
        GraftError: The key cannot be used, the target cannot be signed, or another command works on the run.
        BundleError: The bundle is not proven.
    """
    signer = read_signer(key, certificates, ask_password)
    named = _find(target)
    if named.is_image:
        return sign_image(named.folder, signer)
    run = RunFolder(target)
    with held(run) if run.lock.is_file() else nullcontext():
        return sign_bundle(named.folder, signer)


def check_signature(target: Path, keys: Path) -> Checked:
    """Check the signature of a run's bundle, a bundle or an image.

    Args:
        target: The folder of the run, the bundle or the image.
        keys: A PEM file with the public keys and certificates that are trusted.

    Raises:
        GateFailedError: The signature is missing, foreign, or does not hold.
        BundleError: The bundle is not proven.
        SettingsError: The keys cannot be read.
    """
    named = _find(target)
    return check_image(named.folder, keys) if named.is_image else check_bundle(named.folder, keys)


@dataclass(frozen=True)
class _Named:
    """What a user names: the folder that has the signature, and whether it is an image."""

    folder: Path
    is_image: bool


def _refuse_other_images(target: Path) -> None:
    """Raise where a user names an image as an archive, or a folder in skopeo's own form, with the way out."""
    mark = target / SKOPEOS_FILE
    is_skopeos = mark.is_file() and mark.read_bytes().startswith(SKOPEOS_MARK)
    if target.is_file() or is_skopeos:
        form = "dir" if is_skopeos else "oci-archive"
        raise GraftError(
            f"{target}: is no folder in the OCI layout, which is what is signed of an image. Write one: "
            f"skopeo copy {form}:{target} oci:FOLDER (what `docker save` writes is docker-archive:)"
        )


def _find(target: Path) -> _Named:
    """Return what a user names, which must be one thing: nothing beside it is chosen instead."""
    _refuse_other_images(target)
    if not target.is_dir():
        raise GraftError(f"{target}: no such folder. Name a run, a bundle, or an image in the OCI layout.")
    images, bundle = find_images(target), find_bundle(target)
    own = (target / MANIFEST_FILE, RunFolder(target).recipe)
    is_bundle = bundle != target or any(map(os.path.lexists, own))
    places = [*images, *([bundle] if is_bundle or not images else [])]
    if len(places) > 1:
        raise GraftError(
            f"{target}: may be read as {' or as '.join(map(str, places))}. Name the one that is meant, or "
            "move the other elsewhere."
        )
    return _Named(places[0], is_image=bool(images))
