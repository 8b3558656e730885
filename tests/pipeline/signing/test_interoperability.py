"""What Graft signs model-signing accepts, and what that signs Graft accepts, in the same format."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_signing import hashing, signing, verifying

from pipeline.errors import GateFailedError
from pipeline.run.sign import check_signature, sign
from pipeline.signing.keys import Signer, read_signer
from pipeline.signing.signing import sign_image
from pipeline.signing.statements import state_files
from serving.model.files import hash_file
from serving.model.signature import list_files, read_signed_files
from serving.model.trust import read_trusted_keys
from tests.signing import certify, make_image, make_key, write_certificates, write_public

CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in {".", "..", "model.sig", ".git", ".gitattributes", ".github", ".gitignore"})


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))


def theirs() -> signing.Config:
    return signing.Config().set_hashing_config(hashing.Config().set_ignored_paths(paths=["model.sig"]))


def statement_of(folder: Path) -> dict[str, object]:
    envelope = json.loads((folder / "model.sig").read_bytes())["dsseEnvelope"]
    return json.loads(base64.b64decode(envelope["payload"]))


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_model_signing_accepts_a_bundle_that_graft_signed(
    bundle: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    pair = make_key(tmp_path, curve=curve)
    sign(bundle, pair.private)
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=pair.public)
    verifier.verify(bundle, bundle / "model.sig")
    for path in ("model.onnx", "receipts.sig"):  # what it accepts it has looked at
        content = (bundle / path).read_bytes()
        (bundle / path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ValueError, match=rf"Hash mismatch for .*{path}"):
            verifying.Config().use_elliptic_key_verifier(public_key=pair.public).verify(
                bundle, bundle / "model.sig"
            )
        (bundle / path).write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_graft_accepts_a_bundle_that_model_signing_signed(
    bundle: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    pair = make_key(tmp_path, curve=curve)
    theirs().use_elliptic_key_signer(private_key=pair.private).sign(bundle, bundle / "model.sig")
    checked = check_signature(bundle, pair.public)
    assert (checked.files, checked.receipts) == (4, None)
    (bundle / "reference.npz").write_bytes(b"other")
    with pytest.raises(GateFailedError):
        check_signature(bundle, pair.public)


@pytest.mark.slow
def test_both_verify_what_the_other_signed_with_certificates(bundle: Path, tmp_path: Path) -> None:
    pair, root_key = make_key(tmp_path), ec.generate_private_key(ec.SECP384R1())
    root = certify(root_key, "root", root_key, "root", is_issuer=True)
    leaf = write_certificates(tmp_path / "leaf.crt", certify(pair.key, "team", root_key, "root"))
    anchor = write_certificates(tmp_path / "root.crt", root)
    assert sign(bundle, pair.private, [leaf, anchor]).certificate == "CN=team"
    verifying.Config().use_certificate_verifier(certificate_chain=[anchor]).verify(
        bundle, bundle / "model.sig"
    )
    (bundle / "receipts.sig").unlink()
    signer = theirs().use_certificate_signer(
        private_key=pair.private, signing_certificate=leaf, certificate_chain=[anchor]
    )
    signer.sign(bundle, bundle / "model.sig")
    assert check_signature(bundle, anchor).files == 4


@pytest.mark.slow
def test_the_command_of_model_signing_accepts_a_signed_bundle(bundle: Path, tmp_path: Path) -> None:
    pair = make_key(tmp_path)
    sign(bundle, pair.private)
    command = [Path(sys.executable).with_name("model_signing"), "verify", "key", bundle]
    done = subprocess.run(
        [*command, "--signature", bundle / "model.sig", "--public_key", pair.public],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr


def test_the_statement_is_the_one_of_model_signing(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    sign_image(image, read_signer(pair.private))
    ours = statement_of(image)
    theirs().use_elliptic_key_signer(private_key=pair.private).sign(image, image / "model.sig")
    other = statement_of(image)
    assert other["predicate"]["serialization"].pop("ignore_paths")
    assert ours["predicate"]["serialization"].pop("ignore_paths") == ["model.sig"]
    assert ours == other


def test_both_verify_an_image_that_the_other_signed(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    sign(image, pair.private)
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=pair.public)
    verifier.verify(image, image / "model.sig")
    theirs().use_elliptic_key_signer(private_key=pair.private).sign(image, image / "model.sig")
    assert check_signature(image, pair.public).files == 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=40), min_size=1, max_size=6
    )
)
def test_folders_of_any_names_are_signed_alike(
    tree: dict[tuple[str, ...], bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, pair = tmp_path_factory.mktemp("tree"), _PAIR
    for parts, content in tree.items():
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (NotADirectoryError, FileExistsError, IsADirectoryError):  # a file and a folder of one name
            continue
    public = write_public(folder.with_name(f"{folder.name}.pub"), pair)
    digests = {name: hash_file(folder / name) for name in list_files(folder)}
    (folder / "model.sig").write_bytes(Signer(pair).sign(state_files("tree", digests)))
    ours = statement_of(folder)["predicate"]["resources"]
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")
    private = _private(folder, pair)
    theirs().use_elliptic_key_signer(private_key=private).sign(folder, folder / "model.sig")
    assert statement_of(folder)["predicate"]["resources"] == ours
    signed = read_signed_files(folder, read_trusted_keys(public))
    signed.require_unchanged()
    assert signed.digests == digests


_PAIR = ec.generate_private_key(ec.SECP256R1())


def _private(folder: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    from tests.signing import write_private

    return write_private(folder.with_name(f"{folder.name}.pem"), key)
