"""The key that signs: read from PEM files, with its certificates if there are any."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import GraftError
from pipeline.machine.extras import require
from serving.model.certificates import require_certificate, require_issued, require_links, require_valid
from serving.model.envelope import (
    CertificateChain,
    EncodedCertificate,
    KeyHint,
    Material,
    encode,
    to_be_signed,
    write_envelope,
)
from serving.model.errors import SignatureError
from serving.model.trust import algorithm, fingerprint, require_elliptic

if TYPE_CHECKING:  # imported where it is used, since it is an extra
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

PASSWORD_VARIABLE: Final = "GRAFT_KEY_PASSWORD"  # noqa: S105 - the name of a variable
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
log = logging.getLogger("graft")


@dataclass(frozen=True)
class Signer:
    """A private key, and the certificates that say whose it is.

    Attributes:
        key: The private key.
        certificates: Its certificate and those above it, from the leaf up; empty for a bare key.
    """

    key: EllipticCurvePrivateKey
    certificates: tuple[Certificate, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the public key as PEM, by which a signature names its key."""
        return fingerprint(self.key.public_key())

    def sign(self, payload: bytes) -> bytes:
        """Return the content of a signature's file. The same statement and key give the same bytes.

        Args:
            payload: The bytes of the statement.
        """
        how = algorithm(self.key.public_key(), deterministic=True)
        return write_envelope(payload, self.key.sign(to_be_signed(payload), how), self._material())

    def _material(self) -> Material:
        from cryptography.hazmat.primitives.serialization import Encoding

        if not self.certificates:
            return Material(publicKey=KeyHint(hint=self.fingerprint))
        ders = [certificate.public_bytes(Encoding.DER) for certificate in self.certificates]
        chain = tuple(EncodedCertificate(rawBytes=encode(der)) for der in ders)
        return Material(x509CertificateChain=CertificateChain(certificates=chain))


def read_signer(
    key: Path, certificates: Sequence[Path] = (), ask_password: Callable[[], str] | None = None
) -> Signer:
    """Read a private key and its certificates.

    Args:
        key: A PEM file with a private key.
        certificates: PEM files with the key's certificate first, and then those above it.
        ask_password: Asks a person for the key's password, if it has one and ``GRAFT_KEY_PASSWORD`` does not
            hold it; None where nobody can be asked.

    Raises:
        GraftError: A file cannot be read, or is something else; the password is wrong or missing; the format
            knows no such keys; or the certificate has expired, or is of another key.
    """
    require("cryptography")
    data = _read(key)
    private = _elliptic(_load(key, data, ask_password), key)
    if key.stat().st_mode & OTHERS:
        log.warning("%s: others on this machine may read this private key. Keep it: chmod 600 %s", key, key)
    return Signer(private, _read_certificates(certificates, private))


def _load(path: Path, data: bytes, ask_password: Callable[[], str] | None) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        try:
            return load_pem_private_key(data, None)
        except TypeError:  # it has a password
            password = _password(path, ask_password)
        return load_pem_private_key(data, password.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in data:
            raise GraftError(f"{path}: cannot be read with this password, or is damaged.") from error
        has_public = b"-----BEGIN PUBLIC KEY-----" in data
        what = (
            "holds a public key; signing takes the private one" if has_public else "is no private key in PEM"
        )
        raise GraftError(
            f"{path}: {what}. Make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem, or "
            "write one of another form, such as DER, as PEM: openssl pkey -in KEY -out key.pem"
        ) from error


def _password(path: Path, ask_password: Callable[[], str] | None) -> str:
    if given := os.environ.get(PASSWORD_VARIABLE):
        return given
    if ask_password is None:
        raise GraftError(f"{path}: has a password, and nobody can be asked here. Set {PASSWORD_VARIABLE}.")
    return ask_password()


def _elliptic(private: object, path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    public_key = getattr(private, "public_key", None)
    try:
        require_elliptic(public_key() if public_key else private)
    except ValueError as error:
        raise GraftError(f"{path}: {error}") from error
    assert isinstance(private, EllipticCurvePrivateKey), "its public key is one"
    return private


def _read_certificates(paths: Sequence[Path], key: EllipticCurvePrivateKey) -> tuple[Certificate, ...]:
    from cryptography.x509 import load_pem_x509_certificates

    places: list[Path] = []
    certificates: list[Certificate] = []
    for path in paths:
        try:
            certificates += load_pem_x509_certificates(_read(path))
        except ValueError as error:
            raise GraftError(f"{path}: is no certificate in PEM.") from error
        places += [path] * (len(certificates) - len(places))
    if certificates:
        if certificates[0].public_key() != key.public_key():
            raise GraftError(f"{paths[0]}: its first certificate is of another key than the one that signs.")
        try:
            require_certificate(certificates[0], str(paths[0]))
            for certificate, path in zip(certificates, places, strict=True):
                require_valid(certificate, str(path))
        except (ValueError, SignatureError) as error:
            raise GraftError(_with_place(paths[0], str(error))) from error
        _require_chain(certificates, places)
    return tuple(certificates)


def _require_chain(certificates: Sequence[Certificate], places: Sequence[Path]) -> None:
    """Require certificates to stand in order, each issued by the next, as everybody who checks them will."""
    # Of damaged certificates cryptography raises errors of many types without a common base class.
    for index, path in enumerate(places[:-1]):
        names = [each.subject.rfc4514_string() for each in certificates[index : index + 2]]
        try:
            require_links(certificates[index : index + 2])
        except Exception as error:
            raise GraftError(
                f"{path}: its certificate {names[0]} is not issued by {names[1]}, which follows. Give your "
                "own certificate first, and then the one that issued it, and so on."
            ) from error
    try:
        if len(certificates) > 1:
            require_issued(certificates[:-1], certificates[-1])
    except Exception as error:
        raise GraftError(f"{places[-1]}: its certificates vouch for nothing ({error}).") from error


def _with_place(path: Path, text: str) -> str:
    return text if text.startswith(str(path)) else f"{path}: {text}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraftError(f"{path}: cannot be read ({error.strerror}).") from error
