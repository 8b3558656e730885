"""The check of a signature in the OpenSSF Model Signing format, over all files of a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.model.bundle import Bundle, open_bundle
from serving.model.envelope import (
    MOST_BYTES,
    SIGNATURE_FILE,
    STORE_FILE,
    SigstoreBundle,
    read_envelope,
    root_digest,
    to_be_signed,
)
from serving.model.errors import SignatureError
from serving.model.files import hash_file, read_regular, require_signed
from serving.model.trust import TrustedKeys, algorithm, fingerprint, read_trusted_keys

REMEDY = "Sign it: graft sign"
MOST_NAMED = 3  # files that an error names


class _Part(BaseModel):
    # The format says that verifiers leave keys which they do not know unread.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Digest(_Part):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Subject(_Part):
    name: str
    digest: _Digest


class _Resource(_Part):
    name: str
    algorithm: Literal["sha256"]
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class _Serialization(_Part):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    ignore_paths: tuple[str, ...] = ()


class _Predicate(_Part):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(_Part):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicateType: Literal["https://model_signing/signature/v1.0"]  # noqa: N815
    subject: tuple[_Subject]
    predicate: _Predicate


@dataclass(frozen=True)
class SignedStatement:
    """A statement whose signature is of a trusted key.

    Attributes:
        key: SHA-256, in hexadecimal, of the public key as PEM.
        payload: The bytes of the statement.
    """

    key: str
    payload: bytes


@dataclass(frozen=True)
class SignedFiles:
    """The files of a folder, as a trusted key signed them.

    Attributes:
        folder: The folder.
        key: SHA-256, in hexadecimal, of the public key as PEM.
        digests: SHA-256 of each file but the signature, in hexadecimal, by its path in the folder.
    """

    folder: Path
    key: str
    digests: Mapping[str, str]

    def require_unchanged(self) -> None:
        """Hash every file; raises SignatureError where one is not what was signed."""
        for name, sha256 in self.digests.items():
            require_signed(self.folder / name, hash_file(self.folder / name), sha256)


def open_trusted(folder: Path, trusted_keys: Path | None) -> Bundle:
    """Open a bundle, which must be signed where trusted keys are given.

    The signature is over the bytes of the manifest that is read, and its hashes are those of the files that
    are opened, so that each file is hashed once.

    Args:
        folder: The bundle's folder.
        trusted_keys: A PEM file of public keys and certificates, or None to open unsigned bundles too.

    Raises:
        BundleError: As :func:`open_bundle` does.
        SignatureError: The bundle is unsigned, signed by somebody else, or not what was signed.
        SettingsError: The trusted keys cannot be read.
    """
    if trusted_keys is None:
        return open_bundle(folder)
    return open_bundle(folder, read_signed_files(folder, read_trusted_keys(trusted_keys)).digests)


def read_signed_files(folder: Path, trusted: TrustedKeys) -> SignedFiles:
    """Read the signature of a folder, and require the folder to hold just the files that it names.

    Their bytes are not read here.

    Args:
        folder: The folder.
        trusted: Whose signature is accepted.

    Raises:
        SignatureError: The folder is unsigned, signed by somebody else, or holds other files.
    """
    place = folder / SIGNATURE_FILE
    signed = read_statement(place, trusted)
    statement = _read_statement_of_files(signed.payload, place)
    digests = {resource.name: resource.digest for resource in statement.predicate.resources}
    ignored = {STORE_FILE}.intersection(statement.predicate.serialization.ignore_paths)
    _require_same_names(folder, set(digests), ignored)
    return SignedFiles(folder, signed.key, digests)


def list_signed_files(place: Path) -> list[str]:
    """Return the paths of the files that a signature says it covers, whoever has signed.

    Args:
        place: The file of the signature.

    Raises:
        SignatureError: ``invalid_signature``: it is no signature over the files of a folder.
    """
    envelope = _read_file(place)
    statement = _read_statement_of_files(envelope.payload, place)
    return [resource.name for resource in statement.predicate.resources]


def _read_statement_of_files(payload: bytes, place: Path) -> _Statement:
    try:
        statement = _Statement.model_validate_json(payload)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        reason = f"{where}: {fault['msg']}" if where else fault["msg"]
        text = f"{place}: does not sign the files of a folder, one by one ({reason}). {REMEDY}"
        raise SignatureError("invalid_signature", text) from error
    resources = statement.predicate.resources
    digests = {resource.name: resource.digest for resource in resources}
    if len(digests) < len(resources) or root_digest(digests) != statement.subject[0].digest.sha256:
        text = f"{place}: its hashes do not fit together. {REMEDY}"
        raise SignatureError("invalid_signature", text)
    return statement


def read_statement(path: Path, trusted: TrustedKeys) -> SignedStatement:
    """Read a signature, and check that it is of a trusted key.

    Args:
        path: The file of the signature.
        trusted: Whose signature is accepted.

    Raises:
        SignatureError: ``unsigned``, ``invalid_signature``, ``foreign_signature`` or ``expired_certificate``.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        envelope = _read_file(path)
    except FileNotFoundError as error:
        text = f"{path.parent}: is not signed: there is no {path.name} of a key in {trusted.path}. {REMEDY}"
        raise SignatureError("unsigned", text) from error
    key = trusted.find_key(envelope.verificationMaterial, str(path))
    try:
        key.verify(envelope.signature, to_be_signed(envelope.payload), algorithm(key))
    except InvalidSignature as error:
        text = f"{path}: its signature does not fit its statement: one of them was changed. {REMEDY}"
        raise SignatureError("invalid_signature", text) from error
    return SignedStatement(fingerprint(key), envelope.payload)


def _read_file(path: Path) -> SigstoreBundle:
    try:
        data = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        text = f"{path}: cannot be read ({error.strerror}). Let this user read it, or sign again: graft sign"
        raise SignatureError("invalid_signature", text) from error
    return read_envelope(data, str(path))


def list_files(folder: Path) -> list[str]:
    """Return the paths of all files in a folder and its subfolders but that of its signature, in order.

    Raises:
        SignatureError: ``unsignable``: it holds something else than files and folders, such as a link, whose
            target no signature covers; or a folder in it cannot be listed.
    """
    names = []
    for parent, folders, files in os.walk(folder, onerror=_refuse_unlisted):
        for entry in (Path(parent, name) for name in (*folders, *files)):
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                text = f"{_shown(entry)}: is neither a file nor a folder. Signed folders hold nothing else."
                raise SignatureError("unsignable", text)
        names += [Path(parent, name).relative_to(folder) for name in files]
    return [path.as_posix() for path in sorted(names) if path != Path(SIGNATURE_FILE)]


def _refuse_unlisted(error: OSError) -> None:
    text = f"{_shown(error.filename)}: cannot be listed ({error.strerror}), so nobody knows what it holds."
    raise SignatureError("unsignable", text) from error


def _require_same_names(folder: Path, signed: set[str], ignored: set[str]) -> None:
    """Require a folder to hold what was signed; of what a signature leaves out, little is tolerated."""
    found = set(list_files(folder)) - (ignored - signed)
    for names, what in ((signed - found, "is missing"), (found - signed, "was added")):
        if names:
            first = ", ".join(map(_shown, sorted(names)[:MOST_NAMED]))
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            remedy = "Copy it again, or sign it again: graft sign"
            text = f"{folder}: {first}{more} {what} since it was signed. {remedy}"
            raise SignatureError("signature_mismatch", text)


def _shown(path: Path | str) -> str:
    """Return a path that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="backslashreplace")
