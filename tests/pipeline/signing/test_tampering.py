"""A byte that is changed anywhere in a signed folder is noticed, and so is any other change of its files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from pipeline.errors import GateFailedError
from pipeline.run.sign import check_signature, sign
from serving.model.errors import BundleError
from serving.model.signature import open_trusted
from tests.signing import certify, files_of, make_image, make_key, write_certificates

PLACES = 100


@dataclass(frozen=True)
class Target:
    """A signed folder, and whose signature is trusted."""

    folder: Path
    keys: Path


def sign_with_key(folder: Path, place: Path) -> Target:
    pair = make_key(place)
    sign(folder, pair.private)
    return Target(folder, pair.public)


def sign_with_certificates(folder: Path, place: Path) -> Target:
    """Signed by a certificate of an issuer that a trusted root has made; all three are in the signature."""
    pair = make_key(place)
    root, between = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = write_certificates(
        place / "chain.crt",
        certify(pair.key, "team", between, "between"),
        certify(between, "between", root, "root", is_issuer=True),
        anchor := certify(root, "root", root, "root", is_issuer=True),
    )
    sign(folder, pair.private, [chain])
    return Target(folder, write_certificates(place / "root.crt", anchor))


SIGNERS = [sign_with_key, sign_with_certificates]


@pytest.fixture
def bundle(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))


def change_byte(path: Path, at: int, by: int) -> bytes:
    """Change one byte, and return the file's content before."""
    before = path.read_bytes()
    path.write_bytes(before[:at] + bytes([before[at] ^ by]) + before[at + 1 :])
    return before


def count_refused(target: Target, check: Callable[[], object], *, only: str | None = None) -> int:
    """How many of 100 changes of one random byte are refused; each file is met as often as any other."""
    rng, refused = random.Random(7), 0
    files = [path for path in files_of(target.folder) if only is None or path.name == only]
    for _ in range(PLACES):
        path = rng.choice(files)
        before = change_byte(path, rng.randrange(path.stat().st_size), rng.randrange(1, 256))
        try:
            check()
        except (GateFailedError, BundleError):
            refused += 1
        path.write_bytes(before)
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("signing", SIGNERS)
def test_a_changed_byte_in_a_bundle_is_refused_at_100_of_100_places(
    bundle: Path, tmp_path: Path, signing: Callable[[Path, Path], Target]
) -> None:
    target = signing(bundle, tmp_path)
    assert {path.name for path in files_of(bundle)} > {
        "model.sig",
        "receipts.sig",
        "manifest.json",
        "onnx-fp32.json",
    }
    assert count_refused(target, lambda: open_trusted(bundle, target.keys)) == PLACES
    assert count_refused(target, lambda: check_signature(bundle, target.keys)) == PLACES
    assert count_refused(target, lambda: open_trusted(bundle, target.keys), only="model.sig") == PLACES
    open_trusted(bundle, target.keys)  # every change was undone, so that none of them was refused for another


@pytest.mark.slow
@pytest.mark.parametrize("signing", SIGNERS)
def test_a_changed_byte_in_an_image_is_refused_at_100_of_100_places(
    tiny_run: Path, tmp_path: Path, signing: Callable[[Path, Path], Target]
) -> None:
    target = signing(make_image(tmp_path / "image", tiny_run / "bundle"), tmp_path)
    assert (target.folder / "receipts.sig").is_file()
    assert count_refused(target, lambda: check_signature(target.folder, target.keys)) == PLACES
    assert (
        count_refused(target, lambda: check_signature(target.folder, target.keys), only="model.sig") == PLACES
    )
    check_signature(target.folder, target.keys)


@pytest.mark.parametrize("signing", SIGNERS)
def test_every_byte_of_a_signature_counts(tmp_path: Path, signing: Callable[[Path, Path], Target]) -> None:
    target = signing(make_image(tmp_path / "image"), tmp_path)
    path = target.folder / "model.sig"
    for at in range(0, path.stat().st_size, 3):
        before = change_byte(path, at, 1 << at % 8)
        with pytest.raises(GateFailedError):
            check_signature(target.folder, target.keys)
        path.write_bytes(before)


def add_file(folder: Path) -> None:
    (folder / "more").write_bytes(b"")


def add_hidden_file(folder: Path) -> None:
    (folder / "blobs" / ".hidden").write_bytes(b"more")


def add_gits_file(folder: Path) -> None:
    (folder / ".gitattributes").write_bytes(b"*")


def add_second_signature(folder: Path) -> None:
    shutil.copy(folder / "model.sig", folder / "blobs" / "model.sig")


def remove_file(folder: Path) -> None:
    (folder / "oci-layout").rename(folder.parent / "taken")


def remove_blob(folder: Path) -> None:
    files_of(folder / "blobs")[0].unlink()


def rename_file(folder: Path) -> None:
    blob = files_of(folder / "blobs")[0]
    blob.rename(blob.with_name("0" * 64))


def exchange_files(folder: Path) -> None:
    one, two = files_of(folder / "blobs")[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def change_case(folder: Path) -> None:
    (folder / "index.json").rename(folder / "Index.json")


def link_to_same_content(folder: Path) -> None:
    blob = files_of(folder / "blobs")[0]
    blob.rename(folder.parent / "blob")
    blob.symlink_to(folder.parent / "blob")


def link_folder(folder: Path) -> None:
    (folder / "blobs").rename(folder.parent / "blobs")
    (folder / "blobs").symlink_to(folder.parent / "blobs")


def add_link_to_nothing(folder: Path) -> None:
    (folder / "more").symlink_to("nothing")


def add_pipe(folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe")


def cut_signature(folder: Path) -> None:
    (folder / "model.sig").write_bytes((folder / "model.sig").read_bytes()[:-1])


def lengthen_signature(folder: Path) -> None:
    (folder / "model.sig").write_bytes((folder / "model.sig").read_bytes() + b"\n")


def empty_signature(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b"")


def remove_signature(folder: Path) -> None:
    (folder / "model.sig").unlink()


def folder_as_signature(folder: Path) -> None:
    (folder / "model.sig").unlink()
    (folder / "model.sig").mkdir()


CHANGES = [
    add_file, add_hidden_file, add_gits_file, add_second_signature, remove_file, remove_blob, rename_file,
    exchange_files, change_case, link_to_same_content, link_folder, add_link_to_nothing, add_pipe,
    cut_signature, lengthen_signature, empty_signature, remove_signature, folder_as_signature,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_files_are_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    from pipeline.signing.checking import check_image

    target = sign_with_key(make_image(tmp_path / "image"), tmp_path)
    check_image(target.folder, target.keys)
    change(target.folder)
    with pytest.raises(GateFailedError):
        check_image(target.folder, target.keys)


@pytest.mark.slow
@pytest.mark.parametrize("change", [add_file, add_gits_file, lengthen_signature, remove_signature])
def test_changed_files_of_a_bundle_are_refused(
    bundle: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    target = sign_with_key(bundle, tmp_path)
    change(bundle)
    with pytest.raises(BundleError):
        open_trusted(bundle, target.keys)


@pytest.mark.slow
def test_what_bentoml_adds_in_its_store_is_left_out_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    target = sign_with_key(bundle, tmp_path)
    (bundle / "model.yaml").write_text("name: tiny")
    open_trusted(bundle, target.keys)
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=target.keys)
    verifier.verify(bundle, bundle / "model.sig")
    sign(bundle, tmp_path / "key.pem")  # in the store it can be signed again
    open_trusted(bundle, target.keys)
    (bundle / "receipts" / "model.yaml").write_text("name: tiny")
    with pytest.raises(BundleError, match=r"receipts/model\.yaml was added"):
        open_trusted(bundle, target.keys)


@pytest.mark.slow
def test_settings_of_a_benchmark_that_came_later_are_refused(bundle: Path, tmp_path: Path) -> None:
    target = sign_with_key(bundle, tmp_path)
    defaults = '{"artifact": "onnx-fp32", "threads": 1, "measured_on": "CPU"}'
    (bundle / "defaults.json").write_text(defaults)
    with pytest.raises(BundleError, match=r"defaults.json was added since it was signed. .* graft sign"):
        open_trusted(bundle, target.keys)


@pytest.mark.slow
def test_the_signature_of_an_earlier_bundle_is_refused(bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    target = sign_with_key(bundle, tmp_path)
    manifest = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(manifest.replace('"version": "', '"version": "0', 1))
    with pytest.raises(BundleError, match="changed after it was signed"):
        open_trusted(bundle, target.keys)
    with pytest.raises(GateFailedError, match="changed after it was signed"):
        check_signature(bundle, target.keys)
