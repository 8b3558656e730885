"""The key that signs: what is taken, and what each wrong file says."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.errors import GraftError
from pipeline.signing.keys import PASSWORD_VARIABLE, read_signer
from tests.signing import DAY, certify, make_key, write_certificates, write_private

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


@pytest.fixture(autouse=True)
def _without_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_private(tmp_path / "key.pem", KEY)


def refusal(key: Path, *certificates: Path) -> str:
    with pytest.raises(GraftError) as refused:
        read_signer(key, certificates)
    return str(refused.value)


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
@pytest.mark.parametrize("without", [["-noout"], []], ids=["bare", "with parameters"])
def test_keys_of_openssl_are_read(tmp_path: Path, curve: str, without: list[str]) -> None:
    path = tmp_path / "key.pem"
    openssl("ecparam", "-name", curve, "-genkey", *without, "-out", path)
    assert read_signer(path).key.curve.name == curve.replace("prime256v1", "secp256r1")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["genrsa", "-out", "KEY", "2048"], "RSA"),
        (["genpkey", "-algorithm", "ed25519", "-out", "KEY"], "Ed25519"),
        (["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "KEY"], "secp256k1"),
        (["genpkey", "-algorithm", "x25519", "-out", "KEY"], "X25519"),
    ],
)
def test_other_keys_are_refused_with_what_the_format_takes(
    tmp_path: Path, command: list[str], kind: str
) -> None:
    path = tmp_path / "key.pem"
    openssl(*(path if word == "KEY" else word for word in command))
    message = refusal(path)
    assert f"a key of the kind {kind}" in message
    assert "openssl ecparam -name prime256v1 -genkey -noout -out key.pem" in message


def test_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing")
    assert "Is a directory" in refusal(tmp_path)
    assert "holds a public key; signing takes the private one" in refusal(make_key(tmp_path, "pair").public)
    for content in (
        b"",
        b"no key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"\0\xff",
    ):
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        assert "is no private key in PEM" in refusal(path)


def test_a_password_is_taken_from_the_environment_or_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_private(tmp_path / "key.pem", KEY, "secret")
    assert f"Set {PASSWORD_VARIABLE}" in refusal(path)
    assert read_signer(path, ask_password=lambda: "secret").key.private_numbers() == KEY.private_numbers()
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert read_signer(path).key.private_numbers() == KEY.private_numbers()
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    assert "cannot be read with this password" in refusal(path)
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    assert f"Set {PASSWORD_VARIABLE}" in refusal(path)


def test_a_password_in_openssls_old_form_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    plain = write_private(tmp_path / "plain.pem", KEY)
    openssl("ec", "-in", plain, "-aes256", "-passout", "pass:secret", "-out", path)
    assert f"Set {PASSWORD_VARIABLE}" in refusal(path)
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert read_signer(path).key.private_numbers() == KEY.private_numbers()


def test_a_password_that_is_not_needed_does_not_matter(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert read_signer(key).key.private_numbers() == KEY.private_numbers()


def test_a_key_that_others_may_read_is_used_with_a_warning(
    key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "graft"):
        read_signer(key)
    assert not caplog.records
    key.chmod(0o644)
    with caplog.at_level(logging.WARNING, "graft"):
        read_signer(key)
    assert f"chmod 600 {key}" in caplog.text


def test_certificates_must_be_of_the_key_and_valid(key: Path, tmp_path: Path) -> None:
    path = tmp_path / "team.crt"
    assert read_signer(key, [write_certificates(path, certify(KEY, "team", KEY, "team"))]).certificates
    write_certificates(path, certify(OTHER, "team", OTHER, "team"))
    assert f"{path}: its first certificate is of another key" in refusal(key, path)
    write_certificates(path, certify(KEY, "team", KEY, "team", first=-3 * DAY, last=-DAY))
    assert f"{path}: its certificate CN=team expired on" in refusal(key, path)
    write_certificates(path, certify(KEY, "team", KEY, "team", usage=False))
    assert "it is not for signing" in refusal(key, path)
    assert "is no certificate in PEM" in refusal(key, key)
    assert "No such file" in refusal(key, tmp_path / "missing")


def test_the_whole_chain_must_fit_together_and_be_valid(key: Path, tmp_path: Path) -> None:
    """Else every service would refuse what was signed."""
    between_key, root_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    leaf = certify(KEY, "team", between_key, "between")
    between = certify(between_key, "between", root_key, "root", is_issuer=True)
    root = certify(root_key, "root", root_key, "root", is_issuer=True)
    ended = certify(between_key, "between", root_key, "root", is_issuer=True, first=-9 * DAY, last=-DAY)
    no_issuer = certify(between_key, "between", root_key, "root")
    own, path = write_certificates(tmp_path / "team.crt", leaf), tmp_path / "chain.crt"
    assert len(read_signer(key, [own, write_certificates(path, between, root)]).certificates) == 3
    assert len(read_signer(key, [own, write_certificates(path, between)]).certificates) == 2
    assert "CN=team is not issued by CN=root" in refusal(key, own, write_certificates(path, root, between))
    assert "CN=team is not issued by CN=root" in refusal(key, own, write_certificates(path, root))
    stranger = certify(OTHER, "between", OTHER, "between", is_issuer=True)
    assert "CN=team is not issued by CN=between" in refusal(key, own, write_certificates(path, stranger))
    assert f"{path}: its certificate CN=between expired" in refusal(
        key, own, write_certificates(path, ended, root)
    )
    assert "vouch for nothing" in refusal(key, own, write_certificates(path, no_issuer, root))
