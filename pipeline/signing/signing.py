"""Signing a bundle, with its receipts, or an image."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.records import Record
from pipeline.reporting.progress import track
from pipeline.signing.image import require_whole
from pipeline.signing.keys import Signer
from pipeline.signing.statements import state_files, state_receipts
from serving.model.bundle import open_bundle
from serving.model.envelope import RECEIPTS_FILE, SIGNATURE_FILE, STORE_FILE
from serving.model.files import hash_file
from serving.model.signature import list_files

# Other verifiers of the format leave these unread, so that a signature over them would not hold there.
UNREAD: Final = frozenset({".git", ".gitattributes", ".github", ".gitignore"})


class Signed(Record):
    """What was signed.

    Attributes:
        folder: The bundle's folder, or the image's.
        name: Name of the model, or of the image's folder.
        key: SHA-256, in hexadecimal, of the public key as PEM.
        certificate: Subject of the key's certificate; None for a bare key.
        files: Number of files that the signature covers.
        receipts: Number of receipts in the second statement; 0 for an image, which has none of its own.
    """

    folder: Path
    name: str
    key: str
    certificate: str | None
    files: int
    receipts: int

    def to_text(self) -> str:
        """Return the result for people."""
        by = f"certificate {self.certificate}, key" if self.certificate else "key"
        lines = [
            f"{self.folder / SIGNATURE_FILE}: {self.files} files of {self.name}, by {by} {self.key[:12]}…"
        ]
        if self.receipts:
            lines.append(f"{self.folder / RECEIPTS_FILE}: its receipts ({self.receipts}), by the same key")
        return "\n".join(lines)


def sign_bundle(folder: Path, signer: Signer) -> Signed:
    """Sign a bundle: its receipts as a statement of their own, and all files, that statement among them.

    Args:
        folder: The bundle's folder.
        signer: Who signs.

    Raises:
        BundleError: The bundle is not proven, or has changed.
        GraftError: It holds what cannot be signed, or the signatures cannot be written there.
    """
    digests = _hash_files(folder)
    digests.pop(STORE_FILE, None)
    bundle = open_bundle(folder, digests)
    statement = state_receipts(bundle)
    receipts = signer.sign(statement.to_bytes())
    covered = digests | {RECEIPTS_FILE: hashlib.sha256(receipts).hexdigest()}
    signature = signer.sign(state_files(bundle.manifest.name, covered, [STORE_FILE]))
    _write(folder / RECEIPTS_FILE, receipts)
    _write(folder / SIGNATURE_FILE, signature)
    return _describe(folder, bundle.manifest.name, signer, len(covered), len(statement.predicate.receipts))


def sign_image(folder: Path, signer: Signer) -> Signed:
    """Sign an image, a folder in the OCI image layout.

    Args:
        folder: The folder.
        signer: Who signs.

    Raises:
        GraftError: The image is not whole, or the signature cannot be written there.
    """
    require_whole(folder)
    digests = _hash_files(folder)
    name = folder.resolve().name
    _write(folder / SIGNATURE_FILE, signer.sign(state_files(name, digests)))
    return _describe(folder, name, signer, len(digests), receipts=0)


def _hash_files(folder: Path) -> dict[str, str]:
    names = list_files(folder)
    unread = [name for name in names if PurePosixPath(name).parts[0] in UNREAD]
    if unread:
        raise GraftError(
            f"{folder / unread[0]}: is Git's, which other verifiers leave unread. Remove it, and sign again."
        )
    return {
        name: hash_file(folder / name) for name in track(names, total=len(names), what="sign", unit="files")
    }


def _write(path: Path, content: bytes) -> None:
    try:
        atomic.write_bytes(path, content)
    except OSError as error:
        raise GraftError(
            f"{path}: cannot be written ({error.strerror}), so nothing is signed. Sign a copy of the folder "
            "in a place that you may write to."
        ) from error


def _describe(folder: Path, name: str, signer: Signer, files: int, receipts: int) -> Signed:
    subject = signer.certificates[0].subject.rfc4514_string() if signer.certificates else None
    return Signed(
        folder=folder, name=name, key=signer.fingerprint, certificate=subject, files=files, receipts=receipts
    )
