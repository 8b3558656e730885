"""What a certificate must be to vouch for a signature: valid now, for signing, and issued by those above."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from serving.model.errors import SignatureError

if TYPE_CHECKING:  # imported where it is used: a service without trusted keys does not need it
    from cryptography.x509 import Certificate

SIGN_AGAIN: Final = "Sign again, with a valid one: graft sign"


def require_certificate(certificate: Certificate, place: str) -> None:
    """Require a certificate that may sign now.

    Args:
        certificate: The certificate.
        place: Name of the file that it is in, for errors.

    Raises:
        SignatureError: ``expired_certificate``.
        ValueError: It is not for signing.
    """
    require_valid(certificate, place)
    _require_for_signing(certificate)


def require_valid(certificate: Certificate, place: str) -> None:
    """Require a certificate to be valid now: nothing tells reliably when a signature was made.

    Args:
        certificate: The certificate.
        place: Name of the file that it is in, for errors.

    Raises:
        SignatureError: ``expired_certificate``.
    """
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
    """Require the purpose that model-signing requires, also of the extended ones; raises ValueError."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    signs, extended = False, None
    extensions = certificate.extensions
    with suppress(ExtensionNotFound):
        signs = extensions.get_extension_for_class(KeyUsage).value.digital_signature
    with suppress(ExtensionNotFound):
        extended = set(extensions.get_extension_for_class(ExtendedKeyUsage).value)
    code = {ExtendedKeyUsageOID.CODE_SIGNING}
    if extended is not None:
        any_use = {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
        signs = bool(extended & code) or (signs and bool(extended & any_use))
    if not signs:
        raise ValueError(
            "it is not for signing: it needs the key usage digitalSignature, or codeSigning of the extended "
            "ones, which must be among them if there are any"
        )


def load_certificate(data: bytes) -> Certificate:
    """Return a certificate from its DER; raises ValueError where it has bits to spare."""
    from cryptography.x509 import load_der_x509_certificate

    certificate = load_der_x509_certificate(data)
    if not data.endswith(b"\0" + certificate.signature):  # a string of bits, none of which is to spare
        raise ValueError("its signature has bits to spare")
    return certificate


def require_links(chain: Sequence[Certificate]) -> None:
    """Require each certificate of a chain to be signed by the next.

    Raises:
        Exception: One is not, or cannot be checked; cryptography's errors have no common base class.
    """
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)


def has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    """Return whether a certificate is signed by another one, which its name says."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def require_issued(chain: Sequence[Certificate], anchor: Certificate) -> None:
    """Require a chain to be one that its issuers were allowed to make; raises VerificationError.

    Args:
        chain: The certificates from the leaf up, without the anchor.
        anchor: The certificate that is trusted, which has issued the last of them.
    """
    from cryptography.x509 import ExtendedKeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store

    allowed = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

    def require_allowed(_: Policy, issuer: Certificate, extended: ExtendedKeyUsage | None) -> None:
        if extended is not None and not allowed.intersection(extended):
            raise ValueError(f"{issuer.subject.rfc4514_string()} issues none for signing code")

    # The rules of the web for those who issue, but for what; a certificate for signing need not name a host.
    issuers = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        ExtendedKeyUsage, Criticality.AGNOSTIC, require_allowed
    )
    policy = PolicyBuilder().extension_policies(ca_policy=issuers, ee_policy=ExtensionPolicy.permit_all())
    policy.store(Store([anchor])).build_client_verifier().verify(chain[0], list(chain[1:]))
