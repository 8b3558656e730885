"""The keys and certificates that somebody trusts, in one PEM file, and which of them a signature is of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.model.envelope import Material
from serving.model.errors import SettingsError, SignatureError

if TYPE_CHECKING:  # imported where it is used: a service without trusted keys does not need it
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.x509 import Certificate

CURVES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
NEEDED: Final = "Signatures need the package `cryptography`. Try: pip install 'graft-ml[signing]'"
SIGN_AGAIN: Final = "Sign again, with a valid one: graft sign"
NOT_ELLIPTIC: Final = (
    "The OpenSSF Model Signing format takes keys of the elliptic curves P-256, P-384 and P-521. Make one: "
    "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
)
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class TrustedKeys:
    """What somebody trusts.

    Attributes:
        path: The file.
        keys: The public keys in it, which have no end.
        certificates: The certificates in it. Each vouches for what it issued, and for its own key.
    """

    path: Path
    keys: tuple[EllipticCurvePublicKey, ...]
    certificates: tuple[Certificate, ...]

    def find_key(self, material: Material, place: str) -> EllipticCurvePublicKey:
        """Return the trusted key that a signature says it is of.

        Args:
            material: What the signature says.
            place: Name of its file, for errors.

        Raises:
            SignatureError: ``foreign_signature`` or ``expired_certificate``.
        """
        if material.publicKey is None:
            return self._of_chain(material.certificates(), place)
        hint = material.publicKey.hint
        for key in self.keys:
            if fingerprint(key) == hint:
                return key
        for certificate in self.certificates:
            if fingerprint(public_key(certificate)) == hint:
                _require_valid(certificate, place)
                return public_key(certificate)
        text = f"{place}: is of a key (SHA-256 {hint[:12]}…) that {self.path} does not hold."
        raise SignatureError("foreign_signature", text)

    def _of_chain(self, encoded: Sequence[bytes], place: str) -> EllipticCurvePublicKey:
        """Return the key of the first certificate, which the trusted ones must vouch for."""
        from cryptography.x509 import load_der_x509_certificate

        try:
            chain = [load_der_x509_certificate(data) for data in encoded]
            for certificate in chain:
                _require_valid(certificate, place)
            anchor = self._find_anchor(chain)
            if chain[0] not in self.certificates:
                _require_valid(anchor, str(self.path))
                _require_issued(chain, anchor)
            _require_for_signing(chain[0])
            return public_key(chain[0])
        except SignatureError:
            raise
        # Of a damaged certificate cryptography raises errors of many types without a common base class.
        except Exception as error:
            reason = str(error) or "its certificates do not sign each other"
            text = f"{place}: has a certificate that {self.path} does not vouch for ({reason})."
            raise SignatureError("foreign_signature", text) from error

    def _find_anchor(self, chain: Sequence[Certificate]) -> Certificate:
        """Return the trusted certificate that a chain ends at.

        Each certificate must be signed by the next, so that no byte of any goes unchecked. What stands above
        a certificate that is itself trusted may end at one that nobody knows.
        """
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
        last = chain[-1]
        if last in self.certificates:
            return last
        issuers = [each for each in self.certificates if each.subject == last.issuer]
        for issuer in (*issuers, last) if chain[0] in self.certificates else issuers:
            if _has_issued(issuer, last):
                return issuer
        raise ValueError(f"issued by {last.issuer.rfc4514_string()}")


def _has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _require_issued(chain: Sequence[Certificate], anchor: Certificate) -> None:
    """Require a chain to be one that its issuers were allowed to make; raises VerificationError."""
    from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store

    # The rules of the web for those who issue; a certificate for signing need not name a host.
    policy = PolicyBuilder().extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    policy.store(Store([anchor])).build_client_verifier().verify(chain[0], list(chain[1:]))


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Read a PEM file of public keys and certificates; it is read for each check, so that keys can change.

    Raises:
        SettingsError: ``trusted_keys``: it cannot be read, or holds something else or nothing.
            ``missing_package``: `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as error:
        raise SettingsError("missing_package", NEEDED) from error
    try:
        blocks = [(match[1].decode(), match[0]) for match in _BLOCK.finditer(path.read_bytes())]
        for kind, _ in blocks:
            if kind not in {"PUBLIC KEY", "CERTIFICATE"}:
                raise ValueError(f"holds a {kind}; only public keys and certificates belong there")
        keys = [load_pem_public_key(block) for kind, block in blocks if kind == "PUBLIC KEY"]
        certificates = [load_pem_x509_certificate(block) for kind, block in blocks if kind == "CERTIFICATE"]
        trusted = TrustedKeys(path, tuple(map(require_elliptic, keys)), tuple(certificates))
        if not blocks:
            raise ValueError("holds no public key and no certificate in PEM")
    except OSError as error:
        text = f"{path}: the trusted keys cannot be read ({error.strerror or error})."
        raise SettingsError("trusted_keys", text) from error
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            "trusted_keys", f"{path}: no trusted keys can be read from it: {reason}."
        ) from error
    return trusted


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return what a signature says of its key: the SHA-256, in hexadecimal, of the public key as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_key(certificate: Certificate) -> EllipticCurvePublicKey:
    """Return the public key of a certificate; raises ValueError where it is not of a curve of the format."""
    return require_elliptic(certificate.public_key())


def require_elliptic(key: object) -> EllipticCurvePublicKey:
    """Return a public key; raises ValueError where it is not of a curve that the format knows."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in CURVES:
        return key
    kind = key.curve.name if isinstance(key, EllipticCurvePublicKey) else type(key).__name__.strip("_")
    raise ValueError(f"it is a key of the kind {kind.removesuffix('PublicKey')}. {NOT_ELLIPTIC}")


def algorithm(key: EllipticCurvePublicKey, *, deterministic: bool | None = None) -> ECDSA:
    """Return how a key signs; the hash belongs to its curve.

    Args:
        key: The public key.
        deterministic: Whether the same bytes get the same signature (RFC 6979), which only signing asks for.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    hash_class = getattr(hashes, CURVES[key.curve.name])
    return ECDSA(hash_class(), deterministic_signing=bool(deterministic))


def require_certificate(certificate: Certificate, place: str) -> None:
    """Require a certificate that may sign now.

    Args:
        certificate: The certificate.
        place: Name of the file that it is in, for errors.

    Raises:
        SignatureError: ``expired_certificate``.
        ValueError: It is not for signing.
    """
    _require_valid(certificate, place)
    _require_for_signing(certificate)


def _require_valid(certificate: Certificate, place: str) -> None:
    """Require a certificate to be valid now: nothing tells reliably when a signature was made."""
    now, name = datetime.now(UTC), certificate.subject.rfc4514_string()
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > last:
        text = f"{place}: its certificate {name} expired on {last:%Y-%m-%d %H:%M} UTC. {SIGN_AGAIN}"
        raise SignatureError("expired_certificate", text)
    if now < first:
        text = (
            f"{place}: its certificate {name} is valid from {first:%Y-%m-%d %H:%M} UTC on, which is not yet."
        )
        raise SignatureError("expired_certificate", text)


def _require_for_signing(certificate: Certificate) -> None:
    """Require the purpose that model-signing requires; raises ValueError."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(KeyUsage).value.digital_signature:
            return
    except ExtensionNotFound:
        pass
    try:
        if ExtendedKeyUsageOID.CODE_SIGNING in extensions.get_extension_for_class(ExtendedKeyUsage).value:
            return
    except ExtensionNotFound:
        pass
    raise ValueError(
        "it is not for signing: it needs the key usage digitalSignature, or codeSigning of the extended ones"
    )
