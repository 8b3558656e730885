"""What a signature of a trusted key must say, and what of a service's start it costs and needs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.signing.keys import Signer
from pipeline.signing.signing import sign_bundle
from pipeline.signing.statements import state_files
from serving.model import bundle as bundle_module
from serving.model.envelope import MOST_BYTES, KeyHint, Material, read_envelope, to_be_signed, write_envelope
from serving.model.errors import SettingsError, SignatureError
from serving.model.predictor import load_predictor
from serving.model.signature import open_trusted, read_signed_files
from serving.model.trust import TrustedKeys
from tests.conftest import ROOT
from tests.signing import files_of, make_key, write_public

SIGNER = Signer(ec.generate_private_key(ec.SECP256R1()))
TRUSTED = TrustedKeys(Path("keys.pem"), (SIGNER.key.public_key(),), ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few files, unsigned."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "in/c"):
        (tmp_path / name).write_text(name)
    return tmp_path


def hashes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_of(folder)
        if path.name != "model.sig"
    }


def refusal(folder: Path) -> SignatureError:
    with pytest.raises(SignatureError) as refused:
        read_signed_files(folder, TRUSTED)
    return refused.value


def test_the_hashes_that_were_signed_are_returned(folder: Path) -> None:
    hashes = hashes_of(folder)
    (folder / "model.sig").write_bytes(SIGNER.sign(state_files("model", hashes)))
    signed = read_signed_files(folder, TRUSTED)
    assert (signed.digests, signed.key) == (hashes, SIGNER.fingerprint)


def without_c(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].pop()
    hashes = [bytes.fromhex(each["digest"]) for each in statement["predicate"]["resources"]]
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(b"".join(hashes)).hexdigest()


def ignoring_c(statement: dict[str, Any]) -> None:
    without_c(statement)
    statement["predicate"]["serialization"]["ignore_paths"] = ["model.sig", "in", "in/c"]


def ignoring_what_is_there(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["ignore_paths"] = ["model.yaml", "a"]
    without_c(statement)


def with_c_twice(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].append(statement["predicate"]["resources"][-1])


def outside(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][2]["name"] = "../c"


def other_root(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def other_order(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].reverse()


def other_predicate(statement: dict[str, Any]) -> None:
    statement["predicateType"] = "https://graft-ml/receipts/v1"


def other_type(statement: dict[str, Any]) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v0.1"


def shards(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["method"] = "shards"


def other_hash(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][0]["algorithm"] = "blake3"


def two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"] *= 2


def no_files(statement: dict[str, Any]) -> None:
    del statement["predicate"]["resources"]


STATEMENTS = {
    without_c: "in/c was added",
    ignoring_c: "in/c was added",
    ignoring_what_is_there: "in/c was added",
    with_c_twice: "do not fit together",
    outside: "is missing",
    other_root: "do not fit together",
    other_order: "do not fit together",
    other_predicate: "predicateType",
    other_type: "_type",
    shards: "method",
    other_hash: "algorithm",
    two_subjects: "subject",
    no_files: "resources",
}


@pytest.mark.parametrize("change", STATEMENTS, ids=lambda change: change.__name__)
def test_a_trusted_key_does_not_make_every_statement_a_signature_of_a_folder(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    statement = json.loads(state_files("model", hashes_of(folder)))
    change(statement)
    (folder / "model.sig").write_bytes(SIGNER.sign(json.dumps(statement).encode()))
    assert STATEMENTS[change] in refusal(folder).message


@given(st.binary(max_size=64))
def test_no_statement_but_the_format_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "model.sig").write_bytes(SIGNER.sign(payload))
    assert refusal(folder).code == "invalid_signature"
    assert "graft sign" in refusal(folder).message


@given(st.binary(max_size=80))
def test_no_bytes_but_the_keys_own_are_a_signature(
    tmp_path_factory: pytest.TempPathFactory, signature: bytes
) -> None:
    folder, material = tmp_path_factory.mktemp("any"), Material(publicKey=KeyHint(hint=SIGNER.fingerprint))
    payload = state_files("model", {})
    (folder / "model.sig").write_bytes(write_envelope(payload, signature, material))
    assert refusal(folder).code == "invalid_signature"


@given(st.binary(max_size=400) | st.recursive(st.none() | st.text(), st.lists).map(
    lambda value: json.dumps(value, separators=(",", ":")).encode()
))  # fmt: skip
def test_whatever_the_file_holds_it_is_an_error_with_a_message(content: bytes) -> None:
    with pytest.raises(SignatureError, match="no signature in the OpenSSF Model Signing format"):
        read_envelope(content, "model.sig")


@given(st.binary(max_size=99))
def test_an_envelope_comes_back_as_it_was_written(payload: bytes) -> None:
    data = SIGNER.sign(payload)
    envelope = read_envelope(data, "model.sig")
    assert (envelope.payload, SIGNER.sign(payload)) == (payload, data)  # the same statement, the same bytes
    assert to_be_signed(payload).endswith(b" %d " % len(payload) + payload)


def test_base64_with_spare_bits_is_another_spelling_and_refused() -> None:
    data = SIGNER.sign(b"a")
    other = data.replace(b'"YQ=="', b'"YR=="')
    assert base64.b64decode("YR==", validate=True) == b"a"
    assert other != data
    with pytest.raises(SignatureError, match="bits to spare"):
        read_envelope(other, "model.sig")


def test_deeply_nested_json_is_an_error_with_a_message() -> None:
    with pytest.raises(SignatureError):
        read_envelope(b"[" * 100_000, "model.sig")


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))


@pytest.mark.slow
def test_a_signed_bundle_is_loaded_and_an_unsigned_one_is_not(bundle: Path, tmp_path: Path) -> None:
    keys = write_public(tmp_path / "keys.pem", SIGNER.key)
    with pytest.raises(SignatureError, match=r"is not signed: .* Sign it: graft sign") as refused:
        load_predictor(bundle, trusted_keys=keys)
    assert refused.value.code == "unsigned"
    sign_bundle(bundle, SIGNER)
    assert load_predictor(bundle, trusted_keys=keys).version == load_predictor(bundle).version
    with pytest.raises(SignatureError) as refused:
        load_predictor(bundle, trusted_keys=make_key(tmp_path).public)
    assert refused.value.code == "foreign_signature"


@pytest.mark.slow
def test_each_file_is_hashed_once(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = write_public(tmp_path / "keys.pem", SIGNER.key)
    sign_bundle(bundle, SIGNER)
    hashed: list[str] = []
    from serving.model import files

    def hash_file(path: Path) -> str:
        hashed.append(path.relative_to(bundle).as_posix())
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(files, "hash_file", hash_file)
    monkeypatch.setattr(bundle_module, "hash_file", hash_file)
    open_trusted(bundle, keys)
    assert sorted(hashed) == ["model.onnx", "receipts.sig", "receipts/onnx-fp32.json", "reference.npz"]


@pytest.mark.slow
def test_a_manifest_that_is_exchanged_after_the_signature_was_read_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    sign_bundle(bundle, SIGNER)
    signed = read_signed_files(bundle, TRUSTED)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"version": "0"}))
    bundle_module.open_bundle(bundle)
    with pytest.raises(SignatureError, match=r"manifest.json: was changed after it was signed"):
        bundle_module.open_bundle(bundle, signed.digests)


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero, which has no end


def as_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_folder(path: Path) -> None:
    path.mkdir()


def as_large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (as_pipe, "no regular file"),
        (as_device, "no regular file"),
        (as_link, "no regular file"),
        (as_folder, "no regular file"),
        (as_large_file, "more than 16 MiB"),
    ],
    ids=["pipe", "device", "link", "folder", "large"],
)
def test_what_is_no_file_of_a_signature_is_not_waited_for(
    folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    if make is as_device and os.geteuid() != 0:
        pytest.skip("only root makes devices")

    def stop(*_: object) -> None:
        pytest.fail("it is waited for")

    make(folder / "model.sig")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    try:
        error = refusal(folder)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert (error.code, reason in error.message) == ("invalid_signature", True)
    assert error.message.endswith("sign again: graft sign")


def test_a_folder_that_cannot_be_listed_is_refused() -> None:
    """What it holds would be unsigned, and could still be opened by its name."""
    with tempfile.TemporaryDirectory() as place:  # that others than root may enter
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "model.sig").write_bytes(SIGNER.sign(state_files("model", {})))
        (folder / "hidden").mkdir()
        read_signed_files(folder, TRUSTED)
        (folder / "hidden" / "more").write_text("more")
        (folder / "hidden").chmod(0o311)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            error = refusal(folder)
        finally:
            os.seteuid(user)
            (folder / "hidden").chmod(0o755)
    assert (error.code, "hidden: cannot be listed" in error.message) == ("unsignable", True)


WITHOUT = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from serving.model.errors import SettingsError
from serving.model.signature import open_trusted
try:
    open_trusted(Path("."), Path("keys.pem"))
except SettingsError as error:
    print(error.code, error.message)
"""


def test_without_cryptography_the_error_names_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "missing_package" in done.stdout
    assert "pip install 'graft-ml[signing]'" in done.stdout


def test_a_service_without_trusted_keys_does_not_import_cryptography() -> None:
    code = "import sys, serving.model.predictor; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_trusted_keys_that_cannot_be_read_are_an_error_of_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        open_trusted(tmp_path, tmp_path / "missing")


@pytest.mark.parametrize("content", [b"", b"null", b'{"mediaType":1}', b"[]"])
def test_what_is_no_signature_is_refused_with_its_reason_and_what_helps(folder: Path, content: bytes) -> None:
    (folder / "model.sig").write_bytes(content)
    message = refusal(folder).message
    assert re.search(
        r"is no signature in the OpenSSF Model Signing format \(\w.*\)\. Sign again: graft sign$", message
    )
