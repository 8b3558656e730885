"""The envelope of a signature: a Sigstore bundle (v0.3) around a DSSE envelope around an in-toto statement.

This is the file that the OpenSSF Model Signing format prescribes. Nothing here knows keys or files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from serving.model.errors import SignatureError

SIGNATURE_FILE: Final = "model.sig"
RECEIPTS_FILE: Final = "receipts.sig"
MOST_BYTES: Final = 16 * 2**20  # of either file, which is what some 60,000 files take
# What BentoML adds to a bundle in its model store, and reads itself. A signature may say that it is left out.
STORE_FILE: Final = "model.yaml"
SIGSTORE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
FILES_PREDICATE: Final = "https://model_signing/signature/v1.0"
# A name in the manner of the one above, whose host nobody can own, and no address of a page.
RECEIPTS_PREDICATE: Final = "https://graft-ml/receipts/v1"
# As model-signing writes it today, and as it did until 1.0. Other spacing or spelling of the same document is
# refused, so that a damaged file is noticed. The order of keys, and keys without a value, are not looked at.
_LAYOUTS: Final[tuple[tuple[int | None, tuple[str, str]], ...]] = ((None, (",", ":")), (2, (",", ": ")))


def encode(data: bytes) -> str:
    """Return bytes as Base64."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Return the bytes of Base64; raises ValueError unless it is spelt as :func:`encode` does."""
    data = base64.b64decode(text, validate=True)
    if encode(data) != text:
        raise binascii.Error("Base64 with bits to spare")
    return data


def _require_base64(text: str) -> str:
    decode(text)
    return text


Base64 = Annotated[str, AfterValidator(_require_base64)]


class _Part(BaseModel):
    # Keys that are not known are refused: nothing would check them.
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyHint(_Part):
    """Which key signed.

    Attributes:
        hint: SHA-256, in hexadecimal, of the public key as PEM.
    """

    hint: str = Field(pattern="^[0-9a-f]{64}$")


class EncodedCertificate(_Part):
    """A certificate as Base64 of its DER."""

    rawBytes: Base64  # noqa: N815 - the format's name


class CertificateChain(_Part):
    """The certificate of the key that signed, and those that vouch for it, from the leaf up."""

    certificates: tuple[EncodedCertificate, ...] = Field(min_length=1)


class Material(_Part):
    """What says which key signed: either a hint at it, or its certificate."""

    publicKey: KeyHint | None = None  # noqa: N815
    x509CertificateChain: CertificateChain | None = None  # noqa: N815
    tlogEntries: tuple[()] = ()  # noqa: N815 - entries of a public log, which keys are used without

    def certificates(self) -> list[bytes]:
        """Return the certificates as DER; there are none where the signature only hints at its key."""
        chain = self.x509CertificateChain.certificates if self.x509CertificateChain else ()
        return [decode(certificate.rawBytes) for certificate in chain]


class Signature(_Part):
    """A signature as Base64."""

    sig: Base64
    keyid: Literal[""] = ""


class Envelope(_Part):
    """A DSSE envelope."""

    payload: Base64
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    signatures: tuple[Signature]


class SigstoreBundle(_Part):
    """The whole file."""

    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: Material  # noqa: N815
    dsseEnvelope: Envelope  # noqa: N815

    @property
    def payload(self) -> bytes:
        """The bytes of the statement."""
        return decode(self.dsseEnvelope.payload)

    @property
    def signature(self) -> bytes:
        """The signature, as DER."""
        return decode(self.dsseEnvelope.signatures[0].sig)


def read_envelope(data: bytes, place: str) -> SigstoreBundle:
    """Read the file of a signature. Whether the signature is right is checked elsewhere.

    Args:
        data: The content of the file.
        place: Name of the file, for errors.

    Raises:
        SignatureError: ``invalid_signature``: it is no such file.
    """
    try:
        document = json.loads(data)
        spelt = (
            json.dumps(document, indent=indent, separators=separators).encode()
            for indent, separators in _LAYOUTS
        )
        if data not in spelt:
            raise ValueError("it is not spelt as it was written")
        envelope = SigstoreBundle.model_validate(document)
        if (envelope.verificationMaterial.publicKey is None) == (
            not envelope.verificationMaterial.certificates()
        ):
            raise ValueError("it names neither a key nor a certificate, or both")
    except (ValueError, RecursionError) as error:
        text = (
            f"{place}: is no signature in the OpenSSF Model Signing format ({_reason(error)}). Sign again: "
            "graft sign"
        )
        raise SignatureError("invalid_signature", text) from error
    return envelope


def write_envelope(payload: bytes, signature: bytes, material: Material) -> bytes:
    """Return the content of a signature's file.

    Args:
        payload: The bytes of the statement.
        signature: The signature of :func:`to_be_signed` of them, as DER.
        material: What says which key signed.
    """
    envelope = SigstoreBundle(
        mediaType=SIGSTORE_TYPE,
        verificationMaterial=material,
        dsseEnvelope=Envelope(
            payload=encode(payload), payloadType=PAYLOAD_TYPE, signatures=(Signature(sig=encode(signature)),)
        ),
    )
    document = envelope.model_dump(mode="json", exclude_none=True)
    return json.dumps(document, separators=_LAYOUTS[0][1]).encode()


def to_be_signed(payload: bytes) -> bytes:
    """Return the bytes that are signed for a statement: DSSE's pre-authentication encoding."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def root_digest(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 over the hashes of files, in hexadecimal, by which a statement names all of them.

    Args:
        digests: SHA-256 of each file, in hexadecimal, by its path, in the statement's order.
    """
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests.values()))).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return f"{where}: {fault['msg']}" if where else "it is no JSON object"
    return str(error)[:200] or type(error).__name__
