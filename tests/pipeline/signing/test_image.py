"""An image is signed if it is whole: every blob is there, with the bytes that its name says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import GraftError
from pipeline.signing.image import is_image, require_whole
from pipeline.signing.keys import read_signer
from pipeline.signing.signing import sign_image
from tests.signing import files_of, make_image, make_key


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


def test_a_folder_with_a_layout_is_an_image(image: Path, tmp_path: Path) -> None:
    assert is_image(image)
    assert not is_image(tmp_path)
    require_whole(image)


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
        require_whole(image)


def test_an_index_without_an_image_is_refused(image: Path) -> None:
    (image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": []}))
    with pytest.raises(GraftError, match="names no image"):
        require_whole(image)


def test_what_other_verifiers_leave_unread_is_not_signed(image: Path, tmp_path: Path) -> None:
    (image / ".gitattributes").write_text("*")
    with pytest.raises(GraftError, match=r"\.gitattributes: is Git's"):
        sign_image(image, read_signer(make_key(tmp_path).private))
