"""Whose signature is accepted: bare keys, certificates, what vouches for them, and when they end."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from hypothesis import given
from hypothesis import strategies as st

from pipeline.signing.keys import Signer
from serving.model.certificates import load_certificate
from serving.model.envelope import read_envelope
from serving.model.errors import SettingsError, SignatureError
from serving.model.trust import fingerprint, read_trusted_keys
from tests.signing import DAY, certify, make_key, write_certificates, write_private, write_public

ROOT, BETWEEN, LEAF, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
root = certify(ROOT, "root", ROOT, "root", is_issuer=True)
between = certify(BETWEEN, "between", ROOT, "root", is_issuer=True)
leaf = certify(LEAF, "team", BETWEEN, "between")


def find_key(tmp_path: Path, signer: Signer, *trusted: x509.Certificate) -> str:
    """The key by which a signature would be checked, where some certificates are trusted."""
    keys = read_trusted_keys(write_certificates(tmp_path / "trusted.crt", *trusted))
    envelope = read_envelope(signer.sign(b"{}"), "model.sig")
    return fingerprint(keys.find_key(envelope.verificationMaterial, "model.sig"))


def refusal(tmp_path: Path, signer: Signer, *trusted: x509.Certificate) -> SignatureError:
    with pytest.raises(SignatureError) as refused:
        find_key(tmp_path, signer, *trusted)
    return refused.value


def test_a_chain_that_ends_at_a_trusted_certificate_is_accepted(tmp_path: Path) -> None:
    signer = Signer(LEAF, (leaf, between))
    assert find_key(tmp_path, signer, root) == signer.fingerprint
    assert find_key(tmp_path, Signer(LEAF, (leaf, between, root)), root) == signer.fingerprint
    assert find_key(tmp_path, Signer(LEAF, (leaf,)), between) == signer.fingerprint


def test_a_certificate_that_is_trusted_itself_needs_nobody_above_it(tmp_path: Path) -> None:
    assert find_key(tmp_path, Signer(LEAF, (leaf,)), leaf) == fingerprint(LEAF.public_key())
    assert find_key(tmp_path, Signer(LEAF, (leaf, between, root)), leaf) == fingerprint(LEAF.public_key())


def test_a_trusted_certificate_stands_for_its_bare_key_too(tmp_path: Path) -> None:
    assert find_key(tmp_path, Signer(LEAF), leaf) == fingerprint(LEAF.public_key())


def test_others_with_the_same_name_are_tried(tmp_path: Path) -> None:
    namesake = certify(OTHER, "root", OTHER, "root", is_issuer=True)
    assert find_key(tmp_path, Signer(LEAF, (leaf, between)), namesake, root) == fingerprint(LEAF.public_key())


@pytest.mark.parametrize(
    "signer",
    [
        Signer(OTHER),
        Signer(OTHER, (certify(OTHER, "team", OTHER, "team"),)),
        Signer(OTHER, (certify(OTHER, "team", OTHER, "root"),)),  # whom root has not issued
        Signer(LEAF, (leaf,)),  # without the one between
        Signer(LEAF, (leaf, root)),
        Signer(OTHER, (certify(OTHER, "evil", LEAF, "team"), leaf, between)),  # whose issuer is none
    ],
    ids=["key", "self-signed", "namesake", "gap", "wrong issuer", "issuer that is none"],
)
def test_foreign_signatures_are_refused(tmp_path: Path, signer: Signer) -> None:
    assert refusal(tmp_path, signer, root).code == "foreign_signature"


def test_a_damaged_certificate_above_a_trusted_one_is_refused(tmp_path: Path) -> None:
    stranger = certify(OTHER, "between", OTHER, "between", is_issuer=True)
    assert refusal(tmp_path, Signer(LEAF, (leaf, stranger)), leaf).code == "foreign_signature"


def test_expired_certificates_are_refused_with_the_time_of_their_end(tmp_path: Path) -> None:
    ended = certify(LEAF, "team", ROOT, "root", first=-3 * DAY, last=-DAY)
    error = refusal(tmp_path, Signer(LEAF, (ended,)), root)
    assert error.code == "expired_certificate"
    assert f"CN=team expired on {ended.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" in error.message
    for trusted in (ended, root):
        assert refusal(tmp_path, Signer(LEAF, (ended,)), trusted).code == "expired_certificate"
    assert refusal(tmp_path, Signer(LEAF), ended).code == "expired_certificate"


def test_an_expired_issuer_is_refused(tmp_path: Path) -> None:
    old_root = certify(ROOT, "root", ROOT, "root", is_issuer=True, first=-9 * DAY, last=-DAY)
    error = refusal(tmp_path, Signer(LEAF, (leaf, between)), old_root)
    assert (error.code, "CN=root expired" in error.message) == ("expired_certificate", True)
    old_between = certify(BETWEEN, "between", ROOT, "root", is_issuer=True, first=-9 * DAY, last=-DAY)
    assert refusal(tmp_path, Signer(LEAF, (leaf, old_between)), root).code == "expired_certificate"


def test_a_certificate_of_tomorrow_is_refused(tmp_path: Path) -> None:
    early = certify(LEAF, "team", ROOT, "root", first=DAY)
    error = refusal(tmp_path, Signer(LEAF, (early,)), root)
    assert (error.code, "which is not yet" in error.message) == ("expired_certificate", True)


@pytest.mark.parametrize("usage", [False, None])
def test_a_certificate_that_is_not_for_signing_is_refused(tmp_path: Path, usage: bool | None) -> None:
    other = certify(LEAF, "team", ROOT, "root", usage=usage)
    error = refusal(tmp_path, Signer(LEAF, (other,)), root)
    assert (error.code, "digitalSignature" in error.message) == ("foreign_signature", True)


def test_a_certificate_ends_while_it_is_trusted(tmp_path: Path) -> None:
    now = certify(LEAF, "team", ROOT, "root", last=timedelta(seconds=2))
    assert find_key(tmp_path, Signer(LEAF, (now,)), root)
    import time

    time.sleep(2.1)
    assert refusal(tmp_path, Signer(LEAF, (now,)), root).code == "expired_certificate"


def test_a_renewed_certificate_of_the_same_key_stands_beside_the_old_one(tmp_path: Path) -> None:
    ended = certify(LEAF, "team", ROOT, "root", first=-3 * DAY, last=-DAY)
    renewed = certify(LEAF, "team", ROOT, "root")
    old_root = certify(ROOT, "root", ROOT, "root", is_issuer=True, first=-9 * DAY, last=-DAY)
    for trusted in ((ended, renewed), (renewed, ended)):
        assert find_key(tmp_path, Signer(LEAF), *trusted)
    for trusted in ((old_root, root), (root, old_root)):
        assert find_key(tmp_path, Signer(LEAF, (leaf, between)), *trusted)
        assert find_key(tmp_path, Signer(LEAF, (leaf, between, old_root)), *trusted)
    # Of two that have both ended, the end is the reason.
    assert refusal(tmp_path, Signer(LEAF), ended, ended).code == "expired_certificate"


def test_a_full_chain_is_accepted_by_whoever_trusts_one_in_the_middle(tmp_path: Path) -> None:
    ended = certify(ROOT, "root", ROOT, "root", is_issuer=True, first=-9 * DAY, last=-DAY)
    for top in ((), (root,), (ended,)):  # what stands above is not needed
        assert find_key(tmp_path, Signer(LEAF, (leaf, between, *top)), between)
        assert find_key(tmp_path, Signer(LEAF, (leaf, between, *top)), leaf)


RSA = rsa.generate_private_key(65537, 2048)
rsa_root = certify(RSA, "rsa root", RSA, "rsa root", is_issuer=True)


def test_an_issuer_may_have_a_key_of_a_kind_that_signs_no_models(tmp_path: Path) -> None:
    team = certify(LEAF, "team", RSA, "rsa root")
    assert find_key(tmp_path, Signer(LEAF, (team,)), rsa_root)
    for trusted in ((rsa_root, team), (team, rsa_root)):
        assert find_key(tmp_path, Signer(LEAF), *trusted)
    assert "does not hold" in refusal(tmp_path, Signer(OTHER), rsa_root).message


def test_a_trusted_certificate_must_be_for_signing_to_stand_for_its_bare_key(tmp_path: Path) -> None:
    for other in (
        certify(LEAF, "team", ROOT, "root", usage=False),
        certify(LEAF, "team", LEAF, "team", is_issuer=True),
    ):
        error = refusal(tmp_path, Signer(LEAF), other)
        assert (error.code, "not for signing" in error.message) == ("foreign_signature", True)


@pytest.mark.parametrize(
    ("extended", "usage", "accepted"),
    [
        ([Purpose.CODE_SIGNING], True, True),
        ([Purpose.CODE_SIGNING], None, True),
        ([Purpose.SERVER_AUTH, Purpose.CODE_SIGNING], True, True),
        ([Purpose.ANY_EXTENDED_KEY_USAGE], True, True),
        ([Purpose.ANY_EXTENDED_KEY_USAGE], None, False),
        ([Purpose.SERVER_AUTH], True, False),
        ([Purpose.OCSP_SIGNING, Purpose.TIME_STAMPING], True, False),
    ],
)
def test_extended_usages_must_hold_that_of_signing_code(
    tmp_path: Path, extended: list[x509.ObjectIdentifier], usage: bool | None, accepted: bool
) -> None:
    """A server's certificate of an issuer that is trusted here signs no models."""
    team = certify(LEAF, "team", ROOT, "root", usage=usage, extended=tuple(extended))
    for signer, trusted in ((Signer(LEAF, (team,)), root), (Signer(LEAF), team)):
        if accepted:
            assert find_key(tmp_path, signer, trusted)
        else:
            assert "codeSigning" in refusal(tmp_path, signer, trusted).message


@pytest.mark.parametrize(
    ("extended", "accepted"),
    [(Purpose.CODE_SIGNING, True), (Purpose.ANY_EXTENDED_KEY_USAGE, True), (Purpose.CLIENT_AUTH, False)],
)
def test_an_issuer_with_extended_usages_must_be_one_for_signing_code(
    tmp_path: Path, extended: x509.ObjectIdentifier, accepted: bool
) -> None:
    issuer = certify(BETWEEN, "between", ROOT, "root", is_issuer=True, extended=(extended,))
    signer = Signer(LEAF, (leaf, issuer))
    if accepted:
        assert find_key(tmp_path, signer, root)
    else:
        assert refusal(tmp_path, signer, root).code == "foreign_signature"


def test_a_certificate_with_bits_to_spare_is_refused() -> None:
    """The one byte of a certificate that its issuer's signature says nothing about."""
    ending_in_zeros = (certify(LEAF, "team", LEAF, "team") for _ in range(1000))
    data = next(each for each in ending_in_zeros if each.signature[-1] % 2 == 0).public_bytes(Encoding.DER)
    signature = load_certificate(data).signature
    at = len(data) - len(signature) - 1
    with pytest.raises(ValueError, match="bits to spare"):
        load_certificate(data[:at] + b"\1" + data[at + 1 :])


def test_several_keys_and_certificates_may_stand_in_one_file_with_text_between(tmp_path: Path) -> None:
    one, two = make_key(tmp_path, "one"), make_key(tmp_path, "two", ec.SECP384R1())
    certificate = write_certificates(tmp_path / "root.crt", root)
    parts = [b"# the team's\n", one.public.read_bytes(), two.public.read_bytes(), certificate.read_bytes()]
    (tmp_path / "all.pem").write_bytes(b"\n".join(parts))
    trusted = read_trusted_keys(tmp_path / "all.pem")
    assert (len(trusted.keys), trusted.certificates) == (2, (root,))


def refused_file(path: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        read_trusted_keys(path)
    assert refused.value.code == "trusted_keys"
    assert str(path) in refused.value.message
    return refused.value.message


def test_files_that_hold_no_trusted_keys_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refused_file(tmp_path / "missing")
    assert "Is a directory" in refused_file(tmp_path)
    path = tmp_path / "keys.pem"
    path.write_bytes(b"")
    assert "holds no public key" in refused_file(path)
    path.write_bytes(b"-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n")
    refused_file(path)
    whole = write_public(tmp_path / "whole.pem", LEAF).read_bytes()
    path.write_bytes(whole + whole.replace(b"-----END PUBLIC KEY-----", b""))
    assert "cut off" in refused_file(path)
    # Ed25519's key with the number of an algorithm that nobody knows.
    unknown = bytes.fromhex("302a300506032b6579032100") + bytes(32)
    block = base64.encodebytes(unknown).decode()
    path.write_text(f"-----BEGIN PUBLIC KEY-----\n{block}-----END PUBLIC KEY-----\n{whole.decode()}")
    refused_file(path)
    assert "holds a PRIVATE KEY" in refused_file(write_private(path, ROOT))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ],
    ids=["rsa", "ed25519", "secp256k1"],
)
def test_keys_that_the_format_does_not_know_are_refused_with_what_it_takes(
    tmp_path: Path, key: rsa.RSAPrivateKey, kind: str
) -> None:
    path = tmp_path / "other.pub"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    message = refused_file(path)
    assert f"a key of the kind {kind}" in message
    assert "openssl ecparam -name prime256v1" in message


@given(st.binary(max_size=200), st.sampled_from(["PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY", "X"]))
def test_whatever_a_file_holds_it_is_an_error_with_a_message(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "keys.pem"
    block = (
        f"-----BEGIN {kind}-----\n".encode() + base64.encodebytes(content) + f"-----END {kind}-----".encode()
    )
    for data in (content, block, write_public(path, LEAF).read_bytes() + block):
        path.write_bytes(data)
        with pytest.raises(SettingsError):
            read_trusted_keys(path)
