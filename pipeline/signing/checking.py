"""Checking the signature of a bundle or an image, and the statement about a bundle's receipts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import GateFailedError
from pipeline.files.records import Record
from pipeline.signing.carried import carried_bundle
from pipeline.signing.image import open_image
from pipeline.signing.statements import ReceiptsStatement, state_receipts
from serving.model.bundle import open_bundle
from serving.model.envelope import RECEIPTS_FILE
from serving.model.errors import SignatureError
from serving.model.signature import SignedFiles, read_signed_files, read_statement
from serving.model.trust import TrustedKeys, read_trusted_keys


class Checked(Record):
    """A signature that holds.

    Attributes:
        folder: The bundle's folder, or the image's.
        key: SHA-256, in hexadecimal, of the public key as PEM.
        files: Number of files that it covers.
        receipts: Number of receipts that the second statement names; None where there is no such statement.
    """

    folder: Path
    key: str
    files: int
    receipts: int | None

    def to_text(self) -> str:
        """Return the result for people."""
        text = f"{self.folder}: signed by key {self.key[:12]}…, all files as they were ({self.files})"
        return text if self.receipts is None else f"{text}, and its receipts ({self.receipts})"


def check_bundle(folder: Path, keys: Path) -> Checked:
    """Check the signature of a bundle as a service does, and its statement about the receipts.

    Args:
        folder: The bundle's folder.
        keys: A PEM file with the public keys and certificates that are trusted.

    Raises:
        GateFailedError: The signature is missing, foreign, or does not hold.
        BundleError: The bundle is not proven.
        SettingsError: The keys cannot be read.
    """
    trusted = read_trusted_keys(keys)
    with _as_gate():
        signed = read_signed_files(folder, trusted)
        signed.require_unchanged()
        stated = _read_receipts(signed, trusted)
        _require_same(stated, state_receipts(open_bundle(folder, signed.digests)), folder)
    return _describe(signed, stated)


def check_image(folder: Path, keys: Path) -> Checked:
    """Check the signature of an image, and its statement about the receipts of the bundle that it carries.

    Args:
        folder: The image, in the OCI image layout.
        keys: A PEM file with the public keys and certificates that are trusted.

    Raises:
        GateFailedError: The signature is missing, foreign, or does not hold.
        BundleError: The bundle in it is not proven.
        SettingsError: The keys cannot be read.
    """
    trusted = read_trusted_keys(keys)
    with _as_gate():
        signed = read_signed_files(folder, trusted)
        signed.require_unchanged()
        stated = _read_receipts(signed, trusted)
        if stated is not None:
            image = open_image(folder)
            with carried_bundle(image) as carried:
                own = state_receipts(carried.bundle, carried.manifests) if carried else None
                _require_same(stated, own, folder)
    return _describe(signed, stated)


@contextmanager
def _as_gate() -> Iterator[None]:
    try:
        yield
    except SignatureError as error:
        raise GateFailedError(error.message) from error


def _describe(signed: SignedFiles, stated: ReceiptsStatement | None) -> Checked:
    receipts = None if stated is None else len(stated.predicate.receipts)
    return Checked(folder=signed.folder, key=signed.key, files=len(signed.digests), receipts=receipts)


def _read_receipts(signed: SignedFiles, trusted: TrustedKeys) -> ReceiptsStatement | None:
    """Return the statement about receipts, or None if there is none, as in what other tools sign."""
    if RECEIPTS_FILE not in signed.digests:
        return None
    place = signed.folder / RECEIPTS_FILE
    try:
        return ReceiptsStatement.model_validate_json(read_statement(place, trusted).payload)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"]
        text = f"{place}: is no statement about receipts that this release knows ({fault})."
        raise SignatureError("invalid_signature", text) from error


def _require_same(stated: ReceiptsStatement | None, own: ReceiptsStatement | None, folder: Path) -> None:
    """Require a statement to be about the receipts that are there."""
    if stated is not None and stated != own:
        text = (
            f"{folder / RECEIPTS_FILE}: is about other receipts than those beside it. Sign again: graft sign"
        )
        raise SignatureError("signature_mismatch", text)
