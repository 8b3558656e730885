"""Signing a bundle, with its receipts, or an image."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.errors import GraftError
from pipeline.files.records import Record
from pipeline.reporting.progress import track
from pipeline.signing.carried import carried_bundle
from pipeline.signing.image import open_image
from pipeline.signing.keys import Signer
from pipeline.signing.statements import ReceiptsStatement, state_files, state_receipts
from pipeline.signing.writing import remove_leftovers, replace_files
from serving.model.bundle import open_bundle
from serving.model.envelope import MOST_BYTES, RECEIPTS_FILE, SIGNATURE_FILE, STORE_FILE
from serving.model.files import hash_file
from serving.model.signature import list_files

log = logging.getLogger("graft")
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
        receipts: Number of receipts in the second statement; 0 for an image without a bundle.
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
    plan = _Plan(folder, bundle.manifest.name, digests, state_receipts(bundle), (STORE_FILE,))
    return _sign(plan, signer)


def sign_image(folder: Path, signer: Signer) -> Signed:
    """Sign an image, a folder in the OCI image layout, with the receipts of the bundle that it carries.

    Args:
        folder: The folder.
        signer: Who signs.

    Raises:
        GraftError: The image is not whole, it is not clear which bundle it serves, or the signatures cannot
            be written there.
        BundleError: The bundle in it is not proven, or has changed.
    """
    image = open_image(folder)
    with carried_bundle(image) as carried:
        statement = state_receipts(carried.bundle, carried.manifests) if carried else None
    if statement is None:
        log.info("%s: carries no bundle, so there are no receipts to sign", folder)
    return _sign(_Plan(folder, folder.resolve().name, _hash_files(folder), statement), signer)


@dataclass(frozen=True)
class _Plan:
    """What is to be signed: the hashes of a folder's files, and what its receipts prove."""

    folder: Path
    name: str
    digests: Mapping[str, str]
    statement: ReceiptsStatement | None
    ignored: tuple[str, ...] = ()


def _sign(plan: _Plan, signer: Signer) -> Signed:
    covered = {name: sha256 for name, sha256 in plan.digests.items() if name != RECEIPTS_FILE}
    receipts = None if plan.statement is None else signer.sign(plan.statement.to_bytes())
    if receipts is not None:
        covered[RECEIPTS_FILE] = hashlib.sha256(receipts).hexdigest()
    signature = signer.sign(state_files(plan.name, covered, plan.ignored))
    _write(plan.folder, receipts, signature)
    subject = signer.certificates[0].subject.rfc4514_string() if signer.certificates else None
    return Signed(
        folder=plan.folder,
        name=plan.name,
        key=signer.fingerprint,
        certificate=subject,
        files=len(covered),
        receipts=len(plan.statement.predicate.receipts) if plan.statement else 0,
    )


def _hash_files(folder: Path) -> dict[str, str]:
    try:
        remove_leftovers(folder, (RECEIPTS_FILE, SIGNATURE_FILE))
    except OSError as error:
        raise _not_written(folder / SIGNATURE_FILE, error) from error
    names = list_files(folder)
    for name in names:
        _require_signable(folder, name)
    return {
        name: hash_file(folder / name) for name in track(names, total=len(names), what="sign", unit="files")
    }


def _require_signable(folder: Path, name: str) -> None:
    if PurePosixPath(name).parts[0] in UNREAD:
        raise GraftError(
            f"{folder / name}: is Git's, which other verifiers leave unread. Remove it, and sign again."
        )
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(folder / name).decode(errors="backslashreplace")
            raise GraftError(
                f"{shown}: its name is not in UTF-8, which no signature can hold. Rename it, and sign again."
            ) from error


def _write(folder: Path, receipts: bytes | None, signature: bytes) -> None:
    """Write both files, or remove an earlier statement about receipts where there is none now."""
    place = folder / SIGNATURE_FILE
    if max(len(signature), len(receipts or b"")) > MOST_BYTES:
        raise GraftError(
            f"{place}: would have more than {MOST_BYTES // 2**20} MiB, which nobody reads. Sign fewer files."
        )
    try:
        replace_files({folder / RECEIPTS_FILE: receipts, place: signature})
    except OSError as error:
        raise _not_written(place, error) from error


def _not_written(place: Path, error: OSError) -> GraftError:
    return GraftError(
        f"{place}: cannot be written ({error.strerror}), so nothing is signed. Sign a copy of the folder "
        "in a place that you may write to."
    )
