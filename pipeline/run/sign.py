"""Signing what a user names, and checking its signature: a run's bundle, any bundle, or an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder, find_bundle
from pipeline.run.runner import held
from pipeline.signing.checking import Checked, check_bundle, check_image
from pipeline.signing.image import find_image
from pipeline.signing.keys import read_signer
from pipeline.signing.signing import Signed, sign_bundle, sign_image


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
    if image := find_image(target):
        return sign_image(image, signer)
    run = RunFolder(target)
    with held(run) if run.lock.is_file() else nullcontext():
        return sign_bundle(_require_folder(target), signer)


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
    image = find_image(target)
    return check_image(image, keys) if image else check_bundle(_require_folder(target), keys)


def _require_folder(target: Path) -> Path:
    if not target.is_dir():
        raise GraftError(f"{target}: no such folder. Name a run, a bundle, or an image in the OCI layout.")
    return find_bundle(target)
