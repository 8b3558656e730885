"""Checking the signature of a bundle or an image, and the statement about a bundle's receipts."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import GateFailedError
from pipeline.files.records import Record
from pipeline.signing.statements import ReceiptsStatement, state_receipts
from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import RECEIPTS_FILE
from serving.model.errors import SignatureError
from serving.model.signature import read_signed_files, read_statement
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
    try:
        signed = read_signed_files(folder, trusted)
        signed.require_unchanged()
        bundle = open_bundle(folder, signed.digests)
        receipts = _check_receipts(bundle, trusted) if RECEIPTS_FILE in signed.digests else None
    except SignatureError as error:
        raise GateFailedError(error.message) from error
    return Checked(folder=folder, key=signed.key, files=len(signed.digests), receipts=receipts)


def check_folder(folder: Path, keys: Path) -> Checked:
    """Check the signature of a folder that is no bundle, such as an image; see :func:`check_bundle`."""
    try:
        signed = read_signed_files(folder, read_trusted_keys(keys))
        signed.require_unchanged()
    except SignatureError as error:
        raise GateFailedError(error.message) from error
    return Checked(folder=folder, key=signed.key, files=len(signed.digests), receipts=None)


def _check_receipts(bundle: Bundle, trusted: TrustedKeys) -> int:
    """Return the number of receipts in the second statement, which must be about this bundle."""
    place = bundle.folder / RECEIPTS_FILE
    try:
        stated = ReceiptsStatement.model_validate_json(read_statement(place, trusted).payload)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"]
        text = f"{place}: is no statement about receipts that this release knows ({fault})."
        raise SignatureError("invalid_signature", text) from error
    if stated != state_receipts(bundle):
        text = f"{place}: is about other receipts than those beside it. Sign the bundle again: graft sign"
        raise SignatureError("signature_mismatch", text)
    return len(stated.predicate.receipts)
