"""An image is signed if it is whole: every blob is there, with the bytes that its name says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import GateFailedError, GraftError
from pipeline.run.sign import check_signature
from pipeline.signing.image import find_images, open_image
from pipeline.signing.keys import read_signer
from pipeline.signing.signing import sign_image
from serving.model.envelope import read_envelope
from serving.model.errors import BundleError
from tests.signing import MANIFEST_TYPE, files_of, make_image, make_key, make_layer, write_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


def test_a_folder_with_a_layout_is_an_image(image: Path, tmp_path: Path) -> None:
    assert find_images(image) == [image]
    assert find_images(tmp_path) == []
    image.rename(tmp_path / "layout")
    assert find_images(tmp_path) == [tmp_path / "layout"]  # beside it lies its bill of materials


def test_an_image_with_a_missing_or_damaged_blob_is_not_signed(image: Path, tmp_path: Path) -> None:
    signer = read_signer(make_key(tmp_path).private)
    for blob in files_of(image / "blobs"):
        content = blob.read_bytes()
        blob.unlink()
        with pytest.raises(GraftError, match=f"{blob.name}: is missing or damaged"):
            sign_image(image, signer)
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(GraftError, match=f"{blob.name}: is missing or damaged"):
            sign_image(image, signer)
        assert not (image / "model.sig").exists()
        blob.write_bytes(content)
    assert sign_image(image, signer).files == 6


@pytest.mark.parametrize("content", ["", "[]", "{", '{"manifests": [{"digest": "md5:1"}]}'])
def test_an_index_that_is_none_is_refused(image: Path, content: str) -> None:
    (image / "index.json").write_text(content)
    with pytest.raises(GraftError, match=r"index\.json: is no part of an OCI image"):
        open_image(image)


def test_an_index_without_an_image_is_refused(image: Path) -> None:
    (image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": []}))
    with pytest.raises(GraftError, match="names no image"):
        open_image(image)


def test_a_manifest_of_docker_is_looked_into(tmp_path: Path) -> None:
    docker = "application/vnd.docker.distribution.manifest"
    image = write_image(tmp_path / "image", [make_layer({})], manifest_type=f"{docker}.v2+json")
    (manifest,) = open_image(image).manifests
    manifest.layers[0].unlink()
    with pytest.raises(GraftError, match="missing or damaged"):
        open_image(image)


def test_a_type_that_is_not_known_is_refused_with_what_converts_it(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image", [make_layer({})], manifest_type="application/vnd.other.v1+json")
    with pytest.raises(GraftError, match=r"application/vnd\.other\.v1\+json, .* skopeo copy"):
        open_image(image)


def test_a_node_that_is_an_index_and_a_manifest_is_refused(image: Path) -> None:
    index = json.loads((image / "index.json").read_bytes())
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": index["manifests"][0]["digest"]}
    for more in ({"layers": [layer]}, {"mediaType": MANIFEST_TYPE}):
        (image / "index.json").write_text(json.dumps(index | more))
        with pytest.raises(GraftError, match=r"index\.json: is no part of an OCI image"):
            open_image(image)


def test_what_other_verifiers_leave_unread_is_not_signed(image: Path, tmp_path: Path) -> None:
    (image / ".gitattributes").write_text("*")
    with pytest.raises(GraftError, match=r"\.gitattributes: is Git's"):
        sign_image(image, read_signer(make_key(tmp_path).private))


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "gz"])
def test_the_receipts_of_the_bundle_in_an_image_are_signed_with_it(
    tiny_run: Path, tmp_path: Path, compression: str
) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image", tiny_run / "bundle", compression)
    signed = sign_image(image, read_signer(pair.private))
    assert (signed.files, signed.receipts) == (8, 1)
    assert check_signature(image, pair.public).receipts == 1
    payload = read_envelope((image / "receipts.sig").read_bytes(), "receipts.sig").payload
    index = json.loads((image / "index.json").read_bytes())
    subjects = {(each["name"], each["digest"]["sha256"]) for each in json.loads(payload)["subject"]}
    assert ("oci-image", index["manifests"][0]["digest"].removeprefix("sha256:")) in subjects
    artifact = json.loads((tiny_run / "bundle" / "manifest.json").read_text())["artifacts"][0]
    assert ("model.onnx", artifact["sha256"]) in subjects


@pytest.mark.slow
def test_an_image_with_a_bundle_that_is_not_proven_is_not_signed(tiny_run: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_run / "bundle", tmp_path / "bundle"))
    (bundle / "receipts" / "onnx-fp32.json").write_text("{}")
    image = make_image(tmp_path / "image", bundle)
    with pytest.raises(BundleError):
        sign_image(image, read_signer(make_key(tmp_path).private))
    assert not list(image.glob("*.sig"))


@pytest.mark.slow
def test_receipts_of_another_image_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    """The key has signed both, and the files after they were exchanged."""
    from pipeline.signing.signing import RECEIPTS_FILE, SIGNATURE_FILE
    from pipeline.signing.statements import state_files
    from serving.model.files import hash_file
    from serving.model.signature import list_files

    pair = make_key(tmp_path)
    signer = read_signer(pair.private)
    one = make_image(tmp_path / "one", tiny_run / "bundle")
    two = make_image(tmp_path / "two", tiny_run / "bundle", "gz")
    sign_image(one, signer)
    sign_image(two, signer)
    shutil.copy(one / RECEIPTS_FILE, two / RECEIPTS_FILE)
    digests = {name: hash_file(two / name) for name in list_files(two)}
    (two / SIGNATURE_FILE).write_bytes(signer.sign(state_files("two", digests)))
    with pytest.raises(GateFailedError, match="about other receipts"):
        check_signature(two, pair.public)


def test_receipts_of_an_earlier_image_go_when_there_is_no_bundle(image: Path, tmp_path: Path) -> None:
    pair = make_key(tmp_path)
    (image / "receipts.sig").write_text("of an earlier one")
    assert sign_image(image, read_signer(pair.private)).files == 6
    assert not (image / "receipts.sig").exists()
    assert check_signature(image, pair.public).receipts is None
