"""The keys and certificates that somebody trusts, in one PEM file, and which of them a signature is of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.model.certificates import (
    has_issued,
    load_certificate,
    require_certificate,
    require_issued,
    require_links,
    require_valid,
)
from serving.model.envelope import Material
from serving.model.errors import SettingsError, SignatureError

if TYPE_CHECKING:  # imported where it is used: a service without trusted keys does not need it
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.x509 import Certificate

CURVES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
NEEDED: Final = (
    "Signatures need the package `cryptography`. Try: pip install 'graft-ml[signing]'. An image of "
    "`graft package --image` brings it where the bundle is signed: sign it, and write the image again."
)
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

        Of several certificates that vouch for it, such as an old one and its renewal, one suffices.

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
        refusals = []
        for certificate in self.certificates:
            if _is_of_key(certificate, hint):
                try:
                    require_certificate(certificate, place)
                    return public_key(certificate)
                except (SignatureError, ValueError) as error:
                    refusals.append(error)
        if not refusals:
            text = f"{place}: is of a key (SHA-256 {hint[:12]}…) that {self.path} does not hold."
            raise SignatureError("foreign_signature", text)
        raise self._refusal(refusals, place) from refusals[0]

    def _of_chain(self, encoded: Sequence[bytes], place: str) -> EllipticCurvePublicKey:
        """Return the key of the first certificate, which a trusted one must vouch for."""
        refusals: list[Exception] = []
        # Of a damaged certificate cryptography raises errors of many types without a common base class.
        try:
            chain = [load_certificate(data) for data in encoded]
            require_links(chain)
            require_certificate(chain[0], place)
            self._require_top(chain)
            for below, anchor in self._find_anchors(chain):
                try:
                    self._require_path(below, anchor, place)
                    return public_key(chain[0])
                except Exception as error:
                    refusals.append(error)
            refusals = refusals or [_unknown_issuer(chain[-1])]
        except Exception as error:
            refusals = [error]
        raise self._refusal(refusals, place) from refusals[0]

    def _require_top(self, chain: Sequence[Certificate]) -> None:
        """Require somebody to have signed the last certificate too, so that no damage of it goes unnoticed.

        Only what stands above a certificate that is itself trusted may end at one that nobody knows.
        """
        top = chain[-1]
        if not set(chain).intersection(self.certificates) and not any(
            has_issued(issuer, top) for issuer in (*self.certificates, top)
        ):
            raise _unknown_issuer(top)

    def _find_anchors(
        self, chain: Sequence[Certificate]
    ) -> Iterator[tuple[Sequence[Certificate], Certificate]]:
        """Yield each trusted certificate that a chain may end at, lowest first, with those below it.

        It is in the chain, or has issued one of it. What stands above is not needed.
        """
        for index, certificate in enumerate(chain):
            if certificate in self.certificates:
                yield chain[:index], certificate
            for issuer in self.certificates:
                if issuer != certificate and has_issued(issuer, certificate):
                    yield chain[: index + 1], issuer

    def _require_path(self, below: Sequence[Certificate], anchor: Certificate, place: str) -> None:
        for certificate in below:
            require_valid(certificate, place)
        require_valid(anchor, str(self.path))
        if below:  # else the certificate is trusted itself
            require_issued(below, anchor)

    def _refusal(self, reasons: Sequence[Exception], place: str) -> SignatureError:
        """Return the error to raise where nothing vouches: of a certificate's end, if that is all."""
        others = [error for error in reasons if not isinstance(error, SignatureError)]
        if not others and isinstance(reasons[0], SignatureError):
            return reasons[0]
        reason = str(others[0]) or "its certificates do not sign each other"
        text = f"{place}: has a certificate that {self.path} does not vouch for ({reason})."
        return SignatureError("foreign_signature", text)


def _unknown_issuer(certificate: Certificate) -> ValueError:
    return ValueError(f"issued by {certificate.issuer.rfc4514_string()}")


def _is_of_key(certificate: Certificate, hint: str) -> bool:
    """Return whether a certificate is of a key, whatever kind of key it has itself."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return fingerprint(public_key(certificate)) == hint
    except (ValueError, UnsupportedAlgorithm):  # of a kind that signs no models, but may issue certificates
        return False


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Read a PEM file of public keys and certificates; it is read for each check, so that keys can change.

    Raises:
        SettingsError: ``trusted_keys``: it cannot be read, or holds something else or nothing.
            ``missing_package``: `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as error:
        raise SettingsError("missing_package", NEEDED) from error
    try:
        data = path.read_bytes()
        blocks = [(match[1].decode(), match[0]) for match in _BLOCK.finditer(data)]
        if data.count(b"-----BEGIN ") != len(blocks):
            raise ValueError("holds a part that is cut off")
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
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
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
